"""Which software made a product."""

from __future__ import annotations

import platform
import subprocess
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("casatools", "casatasks", "pyuvdata", "numpy", "astropy")
CHECKOUT = Path(__file__).resolve().parent.parent


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of Python, of the packages that matter and, where there is one, the checkout's commit."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    found = {"python": platform.python_version(), project["name"]: project["version"]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = _commit()
    return found | ({"commit": commit} if commit else {})


def _commit() -> str:
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
