"""Directories that other users of the host cannot enter. No Django."""

from __future__ import annotations

import contextlib
from pathlib import Path

OTHERS = 0o007


def make_private(directory: Path) -> None:
    """Make a directory, with its parents, that others than its owner and group cannot enter; also one that is there.

    Raises OSError where it cannot be made.
    """
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    mode = directory.stat().st_mode
    if mode & OTHERS:
        with contextlib.suppress(PermissionError):  # it belongs to another user
            directory.chmod(mode & ~OTHERS & 0o7777)
