"""The commands `manage.py runworker` and `absurd_gameday`."""
