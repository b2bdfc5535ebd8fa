"""Where an attempt may write: the kernel refuses every other place (Landlock), so that no input can be written to.

Nothing but the standard library: the child uses it. What is refused is writing, creating, renaming and removing;
reading is not touched. It holds for the thread that asks and for all that it starts afterwards, across exec.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

ABI_LEAST = 2
"""The first that lets files be renamed from one directory into another."""
COMMON = ("/dev", "/proc", "/tmp", "/var/tmp")  # noqa: S108 - programs that an attempt starts may insist on them
HINT = "attempts may write into their own directories only, never into their inputs"

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_CHANGE_DIRECTORY = sum(1 << bit for bit in range(4, 14))
"""Removing, making, and (the last) moving from one directory to another."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@cache
def abi() -> int:
    """Return the version of Landlock that the kernel offers; 0 where it has none or one that is too old."""
    version = int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_FLAG))
    return version if version >= ABI_LEAST else 0


def places(own: Iterable[Path], data_roots: Iterable[Path]) -> tuple[str, ...]:
    """Return where an attempt may write: its own places and the common ones that hold none of the data."""
    roots = [root.resolve() for root in data_roots]
    common = [path for path in COMMON if not any(root.is_relative_to(path) for root in roots)]
    return (*map(str, own), *common)


def enter(writable: Sequence[str]) -> None:
    """Give up for good the right to write anywhere but beneath these places; what is not there is left out.

    Raises OSError when the kernel does not take it.
    """
    files = _WRITE_FILE | (_TRUNCATE if abi() > ABI_LEAST else 0)
    everything = files | _CHANGE_DIRECTORY
    ruleset = _call(_CREATE, ctypes.byref(_Ruleset(everything)), ctypes.c_size_t(ctypes.sizeof(_Ruleset)), 0)
    try:
        for path in writable:
            _allow(ruleset, path, files=files, everything=everything)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, *, files: int, everything: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = everything if stat.S_ISDIR(os.fstat(fd).st_mode) else files
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_PathBeneath(rights, fd)), 0)
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
