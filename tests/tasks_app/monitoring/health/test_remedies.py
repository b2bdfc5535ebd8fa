"""Every command that is printed as a remedy can be typed, and those of stops end them."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands, load_command_class

from tasks_app.engine import system_state
from tasks_app.models import Worker
from tasks_app.monitoring import health
from tasks_app.operations.system import disable, freeze
from tasks_app.postgresql import clock
from tests.tasks_app.notes import make_worker

ROOT = Path(__file__).resolve().parents[4]
PRINTED = re.compile(
    r"manage\.py (absurd_[a-z_]*[a-z]|runworker|migrate|createsuperuser)((?: (?!and\b|or\b)[\w./{}<>-]+)*)"
)


def printed() -> Iterator[tuple[str, str, str]]:
    """Yield each command in a source or template with its arguments, and where it stands."""
    for directory in ("tasks_app", "pipeline_app", "workers", "absurd_project", "templates"):
        for path in (ROOT / directory).rglob("*.*"):
            if path.suffix in (".py", ".html"):
                for name, arguments in PRINTED.findall(path.read_text(encoding="utf-8")):
                    yield name, arguments, f"{path.relative_to(ROOT)}: manage.py {name}{arguments}"


def options_of(parser: ArgumentParser) -> Iterator[str]:
    """Yield the options of a parser and of those below it."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from options_of(below)


def test_every_printed_command_exists_and_has_the_options_that_are_printed():
    known, wrong = get_commands(), []
    for name, arguments, where in printed():
        if name not in known:
            wrong.append(f"{where}: no such command")
            continue
        application = known[name]
        command = load_command_class(application, name) if isinstance(application, str) else application
        options = set(options_of(command.create_parser("manage.py", name)))
        wrong += [f"{where}: no {option}" for option in re.findall(r"--[\w-]+", arguments) if option not in options]
    assert wrong == []


@pytest.mark.django_db
def test_the_commands_against_stops_are_those_that_health_prints(worker):
    freeze(actor="user:olga", reason="storm")
    _type(next(check for check in health.check().checks if check.name == "stops").remedy)
    assert health.check().status == "healthy"
    disable(actor="user:olga", reason="maintenance")
    found = health.check()
    assert found.status == "disabled"
    _type(found.message)
    assert system_state.is_enabled()
    assert health.check().status == "healthy"


@pytest.mark.django_db
def test_the_command_that_health_prints_acknowledges_what_it_reports(worker):
    lost = make_worker(label="imager-7")
    Worker.objects.filter(pk=lost.pk).update(heartbeat_at=clock.now() - timedelta(hours=1))
    check = next(check for check in health.check().checks if check.name == "lost workers")
    _type(check.advice)
    assert health.check().status == "healthy"


def _type(text: str) -> None:
    """Type the command in the text, as it stands there."""
    name, arguments = PRINTED.findall(text)[0]
    call_command(name, *re.findall(r"^ ([a-z-]+)$", arguments.split(" hides")[0].split(" when")[0]))
