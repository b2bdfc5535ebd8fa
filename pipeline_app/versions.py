"""Which software made a product."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from tasks_app.version import commit, project_version

PACKAGES = ("casatools", "casatasks", "pyuvdata", "numpy", "astropy")


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of Python, of the packages that matter and, where there is one, the checkout's commit."""
    found = {"python": platform.python_version(), **dict([project_version()])}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | ({"commit": commit()} if commit() else {})
