"""The shell commands `manage.py absurd_*`."""
