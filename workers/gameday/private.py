"""Scenarios that stop servers are played by a second process of this command, on servers of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from workers.gameday.catalogue import Scenario
from workers.gameday.processes import die_with_the_game
from workers.gameday.report import Check, Report
from workers.gameday.scenario_run import PREFIX, Terms
from workers.process.environment import CHECKOUT

OWN = f"{PREFIX}own-"
PLAY_LIMIT_SEC = 1200.0
CLEAR_AWAY_SEC = 60.0


def play(scenario: Scenario, terms: Terms) -> Report:
    """Start a private PostgreSQL and Valkey in a directory of their own, play there, and remove all of it."""
    _remove_abandoned()
    directory = tempfile.mkdtemp(prefix=f"{OWN}{os.getpid()}-")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ABSURD_", "PG", "DJANGO_"))}
    environment = inherited | _state(directory)
    try:
        code, told, fault = _run(["manage.py", "migrate", "--verbosity", "0"], environment)
        if code == 0:
            _, told, fault = _run(["manage.py", "absurd_gameday", *_options(scenario, terms)], environment)
    finally:
        _remove(directory, environment)
    if told:
        return read(json.loads(told)["scenarios"][0])
    report = Report(name=scenario.name, title=scenario.title)
    report.expect("the game on servers of its own was played", False, fault)
    return report


def _state(directory: str) -> dict[str, str]:
    return {"ABSURD_VAR": directory, "ABSURD_ENABLED": "true", "ABSURD_MODE": "local"}


def _remove(directory: str, environment: dict[str, str]) -> None:
    _run([*settings.ABSURD_LOCAL_COMMAND, "purge", "--yes"], environment)
    shutil.rmtree(directory, ignore_errors=True)


def _remove_abandoned() -> None:
    """Stop the servers of games that were killed, and remove what they have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{OWN}*-*"):
        pid = path.name.removeprefix(OWN).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and path.stat().st_uid == os.geteuid():
            _remove(str(path), dict(os.environ) | _state(str(path)))


def _options(scenario: Scenario, terms: Terms) -> list[str]:
    options = ["--stop-servers", "--yes", "--json", "--only", scenario.name, "--queue-name", terms.queue_name]
    options += ["--lease-sec", str(terms.lease_sec), "--grace-sec", str(terms.grace_sec)]
    return [*options, "--full"] if terms.full else options


def _run(argv: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a process of ours; return its exit code, its output and the end of its complaints.

    Whatever ends this function, the process is given the time to clear away what it has started.
    """
    process = subprocess.Popen(
        [sys.executable, *argv],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: die_with_the_game(signal.SIGTERM),
    )
    try:
        told, fault = process.communicate(timeout=PLAY_LIMIT_SEC)
    except BaseException as error:
        process.terminate()
        try:
            process.communicate(timeout=CLEAR_AWAY_SEC)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        told, fault = "", str(error)
    return process.returncode, told, fault.strip()[-500:]


def read(content: dict[str, Any]) -> Report:
    """Return the report that was written as JSON."""
    fields = {name: value for name, value in content.items() if name != "passed"}
    return Report(**fields | {"checks": [Check(**check) for check in content["checks"]]})
