"""Runs: planned as stages, stored as tasks with dependencies; their state is derived from their tasks."""
