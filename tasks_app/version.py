"""The version of this software."""

from __future__ import annotations

import subprocess
import tomllib
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


@cache
def project_version() -> tuple[str, str]:
    """Return the name and the version of the project."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return project["name"], project["version"]


@cache
def commit() -> str:
    """Return the commit of the checkout, marked where files differ from it; empty where there is none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
