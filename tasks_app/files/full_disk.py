"""Say which disk is full when that is why a handler failed. No Django here: the child uses it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from tasks_app import cleaning

_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}


def explain(error: BaseException, *places: Path) -> str:
    """Return which file system is full and how much is free on those of the `places`; nothing for other errors."""
    words = _full(error)
    if words is None:
        return ""
    named = [Path(os.fsdecode(name)) for name in _files_of(error)]
    told = dict.fromkeys(line for place in (*named, *places) if (line := _free(place)))
    return f"{words} ({'; '.join(told)})" if told else words


def chain(error: BaseException | None) -> list[BaseException]:
    """Return the error and what it came from."""
    found: list[BaseException] = []
    while error is not None and not any(error is each for each in found):
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _full(error: BaseException) -> str | None:
    """Return the words for a full disk found in the error or in what caused it; native code only has the words."""
    for each in chain(error):
        if isinstance(each, OSError) and each.errno in _FULL:
            return f"disk full: {cleaning.words(each)}"
        if any(words in cleaning.text(each) for words in _FULL.values()):
            return f"disk full: {cleaning.words(each)}"
    return None


def _files_of(error: BaseException) -> list[str | bytes]:
    return [
        each.filename
        for each in chain(error)
        if isinstance(each, OSError) and isinstance(each.filename, str | bytes) and each.errno in _FULL
    ]


def _free(place: Path) -> str:
    """Return how much is free on the file system of a path, which may not exist."""
    try:
        place = next(each for each in (place, *place.parents) if each.exists())
        usage, mount = shutil.disk_usage(place), place
        while not os.path.ismount(mount):
            mount = mount.parent
    except (OSError, StopIteration):
        return ""
    return f"{usage.free / 1e9:.2f} of {usage.total / 1e9:.2f} GB free on {mount}"
