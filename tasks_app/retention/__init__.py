"""How long what has finished is kept, and where."""
