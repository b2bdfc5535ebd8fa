"""The command line: `manage.py` in a checkout, `absurd` where it is installed; starts private servers as needed."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

WITHOUT_DATABASE = {
    *("", "help", "--help", "--version", "check", "spectacular", "absurd_up"),
    *("absurd_down", "absurd_doctor", "absurd_health", "absurd_monitor", "absurd_reference"),
}


def main() -> None:
    """Start what the command needs, then hand over to Django; what cannot work is one line of error."""
    from django.core.exceptions import ImproperlyConfigured
    from django.db import NotSupportedError

    from absurd_project.env import BadSetting
    from absurd_project.local.locations import EmbeddedServerError
    from tasks_app.formats import escaped
    from tasks_app.version import IS_CHECKOUT, NAME

    try:
        run()
    except (BadSetting, ImproperlyConfigured, NotSupportedError) as fault:  # the last: PostgreSQL is too old
        print(f"{_program()}:", escaped(fault, keep="\n"), file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as fault:
        if IS_CHECKOUT:
            raise
        extras = f"pip install '{NAME}[worker]', [server] or [pipeline]"
        print(f"{_program()}: {fault}, which comes with an extra of this package: {extras}", file=sys.stderr)
        sys.exit(2)
    except EmbeddedServerError as fault:
        print(f"{_program()}:", escaped(fault, keep="\n"), file=sys.stderr)
        sys.exit(75)


def run() -> None:
    """Start the private servers that the command needs and run it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "absurd_project.settings")
    obey_database_url(sys.argv[2:])
    keep_state_directory()
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    asks_for_help = {"-h", "--help"} & set(sys.argv[2:])
    if command not in WITHOUT_DATABASE and not asks_for_help:
        from absurd_project.local import servers

        servers.ensure()
    from django.core.management import execute_from_command_line

    execute_from_command_line([_program(), *sys.argv[1:]])


def obey_database_url(arguments: list[str]) -> None:
    """Let `--database-url` replace ABSURD_DATABASE_URL before the settings, which read it once, are loaded."""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, separator, value = argument.partition("=")
        if name == "--database-url" and (value if separator else following):
            os.environ.pop("ABSURD_DATABASE_URL_FILE", None)
            os.environ["ABSURD_DATABASE_URL"] = value if separator else following


def keep_state_directory() -> None:
    """Make ABSURD_VAR absolute, because the processes that a command starts have another working directory."""
    if given := os.environ.get("ABSURD_VAR"):
        os.environ["ABSURD_VAR"] = str(Path(given).expanduser().absolute())


def _program() -> str:
    name = Path(sys.argv[0]).name
    return "absurd" if name == "__main__.py" else name
