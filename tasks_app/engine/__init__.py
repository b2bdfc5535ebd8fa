"""All that moves a task: what may be said of it, how it is spawned, claimed, completed, failed and retried."""
