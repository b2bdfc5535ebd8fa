"""The views by subject; what people do to tasks, runs and the system is in tasks_app.operations."""
