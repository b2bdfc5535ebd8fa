"""A server that is too old is refused at the first connection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
from tasks_app.postgresql import base
base.DatabaseFeatures.minimum_database_version = (99,)
sys.argv = ["manage.py", *sys.argv[1:]]
from absurd_project.command_line import main
main()
"""


def test_an_older_postgresql_is_refused_in_one_line(live_environment: dict[str, str]) -> None:
    """With a requirement that no server meets yet: for the real one there would have to be an older server."""
    for command in (["absurd_tasks", "list"], ["runworker", "--burst"], ["migrate", "--check"]):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *command],
            cwd=ROOT,
            env=live_environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stderr.strip().splitlines()
        assert done.returncode == 2 and "PostgreSQL 99 or later is required" in said[-1], done.stderr
        assert len(said) == 1, done.stderr
