"""The outside world: model providers so far; each kind fulfils a room's port."""
