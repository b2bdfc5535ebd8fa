"""Scenarios that stop servers are played by a second process of this command, on servers of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from workers.environment import CHECKOUT
from workers.gameday.catalogue import Scenario
from workers.gameday.game import PREFIX, Terms
from workers.gameday.report import Check, Report

PLAY_LIMIT_SEC = 600.0


def play(scenario: Scenario, terms: Terms) -> Report:
    """Start a private PostgreSQL and Valkey in a directory of their own, play there, and remove all of it."""
    directory = tempfile.mkdtemp(prefix=f"{PREFIX}own-")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ABSURD_", "PG"))}
    environment = inherited | {"ABSURD_VAR": directory, "ABSURD_ENABLED": "true", "ABSURD_MODE": "local"}
    argv = [sys.executable, "manage.py", "absurd_gameday", "--stop-servers", "--yes", "--json"]
    argv += ["--queue-name", terms.queue_name, "--lease-sec", str(terms.lease_sec), "--grace-sec", str(terms.grace_sec)]
    argv += ["--only", scenario.name]
    try:
        played = subprocess.run(
            argv, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True, timeout=PLAY_LIMIT_SEC, check=False
        )
        return read(json.loads(played.stdout)["scenarios"][0])
    except (subprocess.TimeoutExpired, ValueError, LookupError) as error:
        report = Report(name=scenario.name, title=scenario.title)
        report.expect("the game on servers of its own was played", False, f"{type(error).__name__}: {error}")
        return report
    finally:
        purge = [sys.executable, "-m", "absurd_project.stack", "purge", "--yes"]
        subprocess.run(purge, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, check=False, timeout=120)
        shutil.rmtree(directory, ignore_errors=True)


def read(content: dict[str, Any]) -> Report:
    """Return the report that was written as JSON."""
    fields = {name: value for name, value in content.items() if name != "passed"}
    return Report(**fields | {"checks": [Check(**check) for check in content["checks"]]})
