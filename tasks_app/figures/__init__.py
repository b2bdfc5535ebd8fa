"""How much there is of what, how fast it moves, and how the database bears it."""
