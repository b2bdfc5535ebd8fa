"""Whether a handler failed because of its host: a data root that is not mounted, a disk full or without answer.

Another host may run the task. No Django: the child uses it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tasks_app import cleaning
from tasks_app.files import directories

_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}


def explain_full_disk(error: BaseException, *places: Path) -> str:
    """Return which file system is full and how much is free on those of the `places`; empty for other errors."""
    words = _full_disk_error(error)
    if words is None:
        return ""
    named = [Path(os.fsdecode(name)) for name in _files_of(error)]
    free = dict.fromkeys(line for place in (*named, *places) if (line := _free(place)))
    return f"{words} ({'; '.join(free)})" if free else words


def chain(error: BaseException | None) -> list[BaseException]:
    """Return the error and what it came from."""
    found: list[BaseException] = []
    while error is not None and not any(error is each for each in found):
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _full_disk_error(error: BaseException) -> str | None:
    """Return the message of a full disk in the error or its causes; native code only has the text."""
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


_ALWAYS = frozenset({errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ENODEV, errno.ENXIO, errno.EROFS})
_OF_FILES = frozenset({errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH})
"""Errors of a network file system whose server is gone; without a file they are about a connection of the handler."""
_WORDS = tuple(os.strerror(number) for number in (errno.EIO, errno.ESTALE, errno.EREMOTEIO))
"""Native code only has the text."""


def reason(
    error: BaseException,
    params: Mapping[str, object],
    roots: Iterable[Path],
    *places: Path,
    other_roots: Iterable[str] = (),
) -> str:
    """Return what the host lacked; empty when the host did not cause the failure.

    `other_roots` are data roots that only other hosts have. `places` are where the handler writes; the message includes
    their free space when a disk is full.
    """
    if full := explain_full_disk(error, *places):
        return full
    for each in chain(error):
        text = cleaning.text(each)
        if (isinstance(each, OSError) and _is_of_the_host(each)) or any(words in text for words in _WORDS):
            return f"the file system does not answer: {type(each).__name__}: {text}"
    return _absent_root(error, params, [str(root) for root in roots], [*other_roots])


def _is_of_the_host(error: OSError) -> bool:
    return error.errno in _ALWAYS or (error.errno in _OF_FILES and error.filename is not None)


def _absent_root(error: BaseException, params: Mapping[str, object], roots: list[str], other_roots: list[str]) -> str:
    files = [each.filename for each in chain(error) if isinstance(each, OSError)]
    named = [os.fsdecode(name) for name in files if isinstance(name, str | bytes)]
    for path in (*named, *absolute_paths(params)):
        if reason := not_mounted(path, roots):
            return reason
        if (root := directories.absent_root_of(path, other_roots)) and not os.path.exists(path):  # noqa: PTH110 - any text
            return f"data root {root} belongs to another host: {path} is not on this one"
    return ""


def not_mounted(path: str, roots: Iterable[str]) -> str:
    """Return that the data root of a path is not mounted on this host; empty where it is, or the path is in none."""
    root = directories.absent_root_of(path, roots)
    return f"data root {root} is not mounted on this host: it has no file {directories.MARKER}" if root else ""


def absolute_paths(value: object) -> Iterator[str]:
    """Yield every absolute path in params."""
    if isinstance(value, str):
        if value.startswith("/") and "\0" not in value:
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from absolute_paths(part)
    elif isinstance(value, list):
        for part in value:
            yield from absolute_paths(part)
