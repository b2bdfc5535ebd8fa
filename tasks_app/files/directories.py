"""Directories that other users of the host cannot enter, and the file that proves that a data root is mounted.

An empty mount point has no such file. No Django: the child uses it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
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


MARKER = ".absurd-data-root"
MARKER_TEXT = "This file proves to Absurd that the data root is mounted. Leave it here.\n"


def is_marked(root: str) -> bool:
    """Return whether the marker is there; a file system that answers with an error has none."""
    return os.path.isfile(os.path.join(root, MARKER))  # noqa: PTH113, PTH118 - takes any string


def mark(root: str) -> None:
    """Write the marker into an existing directory, where there is none. Raises OSError."""
    if not is_marked(root):
        with open(os.path.join(root, MARKER), "x") as marker:  # noqa: PTH118, PTH123
            marker.write(MARKER_TEXT)


def absent_root_of(path: str, roots: Iterable[str]) -> str | None:
    """Return the root below which the path lies, if that root is not marked."""
    path = os.path.normpath(path)
    for root in roots:
        if (path + "/").startswith(root.rstrip("/") + "/") and not is_marked(root):
            return root
    return None
