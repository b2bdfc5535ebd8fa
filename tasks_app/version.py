"""The version of this software."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

NAME = "absurd-dsa110"
VERSION = "0.1.0"
CHECKOUT = Path(__file__).resolve().parent.parent
IS_CHECKOUT = (CHECKOUT / "pyproject.toml").is_file()
"""False where the package is installed: then the directory is that of all packages."""


@cache
def commit() -> str:
    """Return the commit of the checkout, marked where files differ from it; empty where there is none."""
    if not IS_CHECKOUT:  # an environment inside somebody's own repository would answer with their commit
        return ""
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


def running() -> str:
    """Return the version with the commit, as in `0.1.0+1a2b3c4d5e6f`."""
    return "+".join(filter(None, (VERSION, commit())))
