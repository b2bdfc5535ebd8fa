"""Passes through a workflow: planned as stages, told from their tasks, stored nowhere else."""
