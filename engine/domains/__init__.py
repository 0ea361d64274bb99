"""The rooms of the house, one package each; enter them by their doors."""
