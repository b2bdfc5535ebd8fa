"""Every command with its options, from the parsers that read them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from absurd_project.reference import markdown

OURS = ("tasks_app", "workers", "pipeline_app", "absurd_project")
GROUPS = {
    "tasks_app": "The queue",
    "workers": "Workers",
    "pipeline_app": "The pipeline",
    "absurd_project": "The whole system",
}
INTRODUCTION = """
In a checkout `.venv/bin/python manage.py NAME`, where the package is installed `absurd NAME`. Every command also has
Django's own options (`manage.py help NAME` shows them), and all that an operator uses share their exit codes: 0 done,
1 failed or not confirmed, 2 wrong usage, 3 no such thing, 4 its state does not allow it, 5 unhealthy, 75 try again
later, 130 interrupted.
"""


def names() -> dict[str, str]:
    """Return our commands, with the application of each."""
    return {name: app for name, app in sorted(get_commands().items()) if app in OURS}


def command(name: str) -> BaseCommand:
    """Return one of our commands."""
    return load_command_class(names()[name], name)


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    return command(name).create_parser("manage.py", name)


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the words that a command may begin with."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: sub for action in found for name, sub in action.choices.items()}


def page() -> str:
    """Return the page."""
    parts = [" ".join(INTRODUCTION.split())]
    found = names()
    for app, title in GROUPS.items():
        parts.append(f"## {title}")
        for name in (name for name in found if found[name] == app):
            parser = parser_of(name)
            parts += [f"### {name}", markdown.text(parser.description or ""), _arguments(parser)]
            for word, sub in subparsers(parser).items():
                parts += [f"#### {name} {word}", markdown.text(sub.description or ""), _arguments(sub)]
    return markdown.page("Commands", *parts)


def _arguments(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog)
    rows = [
        (
            markdown.code(formatter._format_action_invocation(action)),
            markdown.text(formatter._expand_help(action) if action.help else ""),
        )
        for action in _own(parser)
    ]
    return markdown.table(("argument", ""), rows)


def _own(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments that are not Django's, nor argparse's."""
    django = {action.dest for action in BaseCommand().create_parser("", "")._actions}
    for action in parser._actions:
        is_shown = action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction)
        if is_shown and not (action.dest in django and action.option_strings):
            yield action
