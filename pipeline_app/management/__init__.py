"""The commands `manage.py absurd_ingest` and `absurd_simulate`."""
