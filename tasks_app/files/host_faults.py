"""Whether a handler failed because of the host it ran on: a data root that is not mounted, a disk that is full or does
not answer. Another host may do it. No Django: the child uses it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tasks_app import cleaning
from tasks_app.files import full_disk, root_marker

_ALWAYS = frozenset({errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ENODEV, errno.ENXIO, errno.EROFS})
_OF_FILES = frozenset({errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH})
"""What a network file system says when its server is gone; without a file it is about a connection of the handler's."""
_WORDS = tuple(os.strerror(number) for number in (errno.EIO, errno.ESTALE, errno.EREMOTEIO))
"""Native code only has the words."""


def reason(error: BaseException, params: Mapping[str, object], roots: Iterable[Path], *places: Path) -> str:
    """Return what the host lacked, or nothing when the failure is not the host's.

    `places` are where the handler writes; their free space is told when a disk is full.
    """
    if full := full_disk.explain(error, *places):
        return full
    for each in full_disk.chain(error):
        text = cleaning.text(each)
        if (isinstance(each, OSError) and _is_of_the_host(each)) or any(words in text for words in _WORDS):
            return f"the file system does not answer: {type(each).__name__}: {text}"
    return _absent_root(error, params, [str(root) for root in roots])


def _is_of_the_host(error: OSError) -> bool:
    return error.errno in _ALWAYS or (error.errno in _OF_FILES and error.filename is not None)


def _absent_root(error: BaseException, params: Mapping[str, object], roots: list[str]) -> str:
    files = [each.filename for each in full_disk.chain(error) if isinstance(each, OSError)]
    named = [os.fsdecode(name) for name in files if isinstance(name, str | bytes)]
    for path in (*named, *absolute_paths(params)):
        if root := root_marker.absent_root_of(path, roots):
            return f"data root {root} is not mounted on this host: it has no file {root_marker.NAME}"
    return ""


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
