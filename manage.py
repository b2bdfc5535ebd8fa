#!/usr/bin/env python3
"""Django's command line, with the private servers brought up for the commands that need them."""

from __future__ import annotations

import os
import sys

WITHOUT_DATABASE = {"", "help", "--help", "--version", "check", "spectacular", "absurd_down"}


def main() -> None:
    """Start what the command needs, then hand over to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "absurd_project.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    asks_for_help = {"-h", "--help"} & set(sys.argv[2:])
    if command not in WITHOUT_DATABASE and not asks_for_help:
        from absurd_project import embedded

        embedded.ensure()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
