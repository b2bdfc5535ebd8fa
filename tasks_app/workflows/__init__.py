"""Runs: planned as stages, kept as tasks with dependencies, their state derived from their tasks."""
