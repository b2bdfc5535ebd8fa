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
from types import ModuleType
from typing import Any

import psutil

_MODULE = "casatools.logsink"
"""The log is the first tool that is made, and starts the services."""


def close_on_import() -> None:
    """Close the ports of casatools when it is imported, in this process. Further calls do nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def listening() -> list[int]:
    """Return the descriptors of this process on which it listens for TCP connections."""
    return [each.fd for each in psutil.Process().net_connections("tcp") if each.status == psutil.CONN_LISTEN]


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
