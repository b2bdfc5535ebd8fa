"""One attempt in a process of its own: its guardian, the child, and what the supervisor knows of them."""
