"""What moves a task: options, spawn, claim, complete, fail, dependencies, limits, events."""
