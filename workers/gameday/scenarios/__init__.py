"""The faults themselves. Each function prepares, disturbs, waits and judges; the runner does the accounts."""
