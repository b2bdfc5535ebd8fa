#!/usr/bin/env python3
"""Django's command line, with the private servers brought up for the commands that need them."""

from __future__ import annotations

import itertools
import os
import sys

WITHOUT_DATABASE = {
    *("", "help", "--help", "--version", "check", "spectacular", "absurd_up"),
    *("absurd_down", "absurd_doctor", "absurd_health", "absurd_monitor"),
}


def obey_database_url(arguments: list[str]) -> None:
    """Let `--database-url` replace ABSURD_DATABASE_URL before the settings, which read it once, are loaded."""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, separator, value = argument.partition("=")
        if name == "--database-url" and (value if separator else following):
            os.environ["ABSURD_DATABASE_URL"] = value if separator else following


def main() -> None:
    """Start what the command needs, then hand over to Django; what cannot work is one line of error."""
    from absurd_project.env import BadSetting
    from absurd_project.local.locations import EmbeddedServerError
    from tasks_app.plain_text import escaped

    try:
        run()
    except BadSetting as fault:
        print("manage.py:", escaped(fault, keep="\n"), file=sys.stderr)
        sys.exit(2)
    except EmbeddedServerError as fault:
        print("manage.py:", escaped(fault, keep="\n"), file=sys.stderr)
        sys.exit(75)


def run() -> None:
    """Start the private servers that the command needs and run it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "absurd_project.settings")
    obey_database_url(sys.argv[2:])
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    asks_for_help = {"-h", "--help"} & set(sys.argv[2:])
    if command not in WITHOUT_DATABASE and not asks_for_help:
        from absurd_project.local import servers

        servers.ensure()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
