"""The Django project: settings, URLs, the private system, the demo, processing of a directory, the benchmark."""
