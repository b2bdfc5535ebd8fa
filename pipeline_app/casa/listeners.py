"""No open port: casatools offers a registry of services on all interfaces from its import on, without a switch for it.

Nothing of ours uses that registry (gRPC, without any credentials), so its listening sockets are closed as soon as the
library has made them.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULE = "casatools.logsink"
"""The log is the first tool that is made, and starts the services."""
_LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def close_on_import() -> None:
    """Close the ports of casatools when it is imported, in this process. Further calls do nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def listening() -> list[int]:
    """Return the descriptors of this process on which it listens for TCP connections."""
    inodes = {
        fields[9]
        for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6")
        for line in _lines(table)
        if (fields := line.split())[3] == _LISTENING
    }
    return [fd for fd, target in _descriptors() if target.startswith("socket:[") and target[8:-1] in inodes]


def close(fds: Sequence[int]) -> None:
    """Put an unconnected socket in the place of each, so that the library may go on using its number."""
    with socket.socket(socket.AF_UNIX) as nothing:
        for fd in fds:
            os.dup2(nothing.fileno(), fd, inheritable=False)


class _Finder:
    """Finds the module as Python would, and changes the tool that starts the services."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _close_after_making(module.logsink)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _close_after_making(tool: Any) -> None:
    make = tool.__init__

    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        before = set(listening())
        make(self, *arguments, **named)
        close([fd for fd in listening() if fd not in before])

    tool.__init__ = __init__


def _lines(table: str) -> list[str]:
    try:
        return Path(table).read_text().splitlines()[1:]
    except OSError:  # a kernel without IPv6
        return []


def _descriptors() -> list[tuple[int, str]]:
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are enough
        try:
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))  # noqa: PTH115
        except OSError:
            continue
    return found
