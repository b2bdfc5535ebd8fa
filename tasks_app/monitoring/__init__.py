"""What is measured and judged: counts, rates, workers and hosts, health, and why a task is not running."""
