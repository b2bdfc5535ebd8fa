"""Workers and hosts, task counts, metrics, health, and why a task is not running."""
