"""The other edge: Ray actors that host the engine's workers, and nothing of the product."""
