"""The systems of the field: their rows, their recipes, and what was shown of each."""
