"""The file that proves that a data root is mounted: an empty mount point has none. No Django: the child uses it."""

from __future__ import annotations

import os
from collections.abc import Iterable

NAME = ".absurd-data-root"
TEXT = "This file proves to Absurd that the data root is mounted. Leave it here.\n"


def is_marked(root: str) -> bool:
    """Return whether the marker is there; a file system that answers with an error has none."""
    return os.path.isfile(os.path.join(root, NAME))  # noqa: PTH113, PTH118 - takes any string


def mark(root: str) -> None:
    """Write the marker into an existing directory, where there is none. Raises OSError."""
    if not is_marked(root):
        with open(os.path.join(root, NAME), "x") as marker:  # noqa: PTH118, PTH123
            marker.write(TEXT)


def absent_root_of(path: str, roots: Iterable[str]) -> str | None:
    """Return the root below which the path lies, if that root is not marked."""
    path = os.path.normpath(path)
    for root in roots:
        if (path + "/").startswith(root.rstrip("/") + "/") and not is_marked(root):
            return root
    return None
