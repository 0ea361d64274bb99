"""The other edge: actors that host workers and models. Empty until the engine leaves one machine."""
