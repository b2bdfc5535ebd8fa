"""One attempt in a process of its own: guardian, child, supervisor, outcome."""
