"""The commands `manage.py absurd_up`, `absurd_setup`, `absurd_process`, `absurd_demo` and others."""
