"""Scenarios that stop servers run in a second process of this command, on a PostgreSQL and a Valkey of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from django.conf import settings

from workers.gameday.drill import PREFIX, Options, Scenario
from workers.gameday.processes import end_with_parent, own_environment
from workers.gameday.report import Report
from workers.process.environment import CHECKOUT

OWN = f"{PREFIX}own-"
RUN_SEC = 1200.0
CLEAR_AWAY_SEC = 60.0


def run(scenario: Scenario, options: Options) -> Report:
    """Start private servers in a directory of their own, run the scenario there, and remove all of it."""
    _remove_abandoned()
    directory = Path(tempfile.mkdtemp(prefix=f"{OWN}{os.getpid()}-"))
    argv = [
        *settings.ABSURD_MANAGE_COMMAND,
        "absurd_gameday",
        "--stop-servers",
        "--yes",
        "--json",
        "--only",
        scenario.name,
    ]
    argv += ["--queue-name", options.queue_name]
    argv += ["--lease-sec", str(options.lease_sec), "--grace-sec", str(options.grace_sec)]
    try:
        code, output, fault = _run([*settings.ABSURD_MANAGE_COMMAND, "migrate", "--verbosity", "0"], directory)
        if code == 0:
            _, output, fault = _run([*argv, "--full"] if options.full else argv, directory)
    finally:
        _remove(directory)
    if output:
        return Report.of(json.loads(output)["scenarios"][0])
    report = Report(name=scenario.name, title=scenario.title)
    report.expect("the scenario ran on servers of its own", False, fault)
    return report


def _remove(directory: Path) -> None:
    _run([*settings.ABSURD_LOCAL_COMMAND, "purge", "--yes"], directory)
    shutil.rmtree(directory, ignore_errors=True)


def _remove_abandoned() -> None:
    """Stop the servers of drills that were killed, and remove what they have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{OWN}*-*"):
        pid = path.name.removeprefix(OWN).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and path.stat().st_uid == os.geteuid():
            _remove(path)


def _run(argv: list[str], var: Path) -> tuple[int, str, str]:
    """Run a program on the servers of a state directory; return its exit code, its output and its last error.

    Whatever ends this function, the program is given the time to clear away what it has started.
    """
    environment = {name: value for name, value in own_environment(var).items() if not name.startswith("PG")}
    process = subprocess.Popen(
        [sys.executable, *argv],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: end_with_parent(signal.SIGTERM),
    )
    try:
        output, fault = process.communicate(timeout=RUN_SEC)
    except BaseException as error:
        process.terminate()
        try:
            process.communicate(timeout=CLEAR_AWAY_SEC)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        output, fault = "", str(error)
    return process.returncode, output, fault.strip()[-500:]
