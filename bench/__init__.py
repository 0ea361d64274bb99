"""What we measure, against what, and the last results: run it with `scripts/bench`."""
