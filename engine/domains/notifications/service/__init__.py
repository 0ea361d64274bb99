"""The verbs of this room, one file for each family of them."""
