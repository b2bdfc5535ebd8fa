"""The raw files in a directory tree, and what is left out of it with the reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline_app.ingest.header import is_hdf5
from pipeline_app.naming import INCOMPLETE_MARK, RAW_SUFFIXES

STILL_WRITTEN = f"still being written: its name has {INCOMPLETE_MARK}"


@dataclass(frozen=True, kw_only=True)
class FileProblem:
    """A file that was not used, and why."""

    path: str
    problem: str


def scan(directory: Path) -> Iterator[Path | FileProblem]:
    """Yield, in order, what lies under a directory and is, or claims to be, raw: by suffix or by content.

    What looks raw and is left out is yielded as a problem: files still being written, symbolic links
    to folders, and what cannot be read.
    """
    unreadable: list[OSError] = []
    for place, folders, names in os.walk(directory, onerror=unreadable.append):
        for folder in sorted(folders):
            if Path(place, folder).is_symlink():
                yield FileProblem(
                    path=str(Path(place, folder)), problem="a symbolic link to a folder: not followed; give its target"
                )
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(names):
            found = _candidate(Path(place, name))
            if found is not None:
                yield found
    for error in unreadable:
        yield FileProblem(path=str(error.filename), problem=f"cannot be listed: {error.strerror}")


def _candidate(path: Path) -> Path | FileProblem | None:
    """Return the path of a file that is to be read, the problem of one that is not, or None for what is no raw file."""
    if path.name.startswith("."):
        return None
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            named_raw = path.name.endswith(RAW_SUFFIXES)
            return FileProblem(path=str(path), problem="not a regular file") if named_raw else None
        if INCOMPLETE_MARK in path.name:
            return FileProblem(path=str(path), problem=STILL_WRITTEN)
        return path.resolve() if path.name.endswith(RAW_SUFFIXES) or is_hdf5(path) else None
    except FileNotFoundError:
        return FileProblem(path=str(path), problem="a symbolic link without a target") if path.is_symlink() else None
    except (OSError, RuntimeError) as error:
        return FileProblem(path=str(path), problem=f"cannot be read: {error}")
