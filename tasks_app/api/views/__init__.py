"""One view a path; the verbs themselves are in tasks_app.operations."""
