"""The runtime: it claims tasks and runs each in a guarded process of its own."""
