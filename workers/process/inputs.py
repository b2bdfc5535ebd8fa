"""Whether the files that an attempt was given are still what they were when it began. Runs in the child; no Django."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks_app.files import host_faults
from tasks_app.files.host_faults import absolute_paths
from tasks_app.files.manifest import UNSTABLE
from workers.process.protocol import Failure, Reply, Result

FILES_MOST = 100_000
"""Of one input; a larger one is left unwatched, for reading its files would take longer than a second."""
NAMED_MOST = 5

State = tuple[int, int]
"""Size and time of the last change, which show what a checksum of gigabytes would."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the params name, as it was found."""

    paths: tuple[str, ...]
    files: dict[str, State] = field(repr=False)
    unwatched: tuple[str, ...] = ()

    def changed(self) -> list[str]:
        """Return a phrase for each file that is not as it was."""
        now: dict[str, State] = {}
        for path in self.paths:
            now.update(_files(path))
        changes = []
        for path in sorted(self.files.keys() | now.keys()):
            before, after = self.files.get(path), now.get(path)
            if before != after:
                changes.append(f"{path} {_difference(before, after)}")
        return changes


def find(params: Mapping[str, Any], attempt_dir: Path) -> Inputs:
    """Return the files of everything on the disk that a param names by an absolute path.

    What holds the attempt's own directory is no input but a place, and changes while the attempt works.
    """
    own = os.path.realpath(attempt_dir)
    files: dict[str, State] = {}
    watched, unwatched = [], []
    for path in dict.fromkeys(absolute_paths(params)):
        if _holds(os.path.realpath(path), own) or not os.path.exists(path):  # noqa: PTH110 - takes any string
            continue
        states = _files(path)
        if len(states) > FILES_MOST:
            unwatched.append(path)
            continue
        watched.append(path)
        files.update(states)
    return Inputs(paths=tuple(watched), files=files, unwatched=tuple(unwatched))


def absent(paths: Iterable[str], data_roots: Iterable[str]) -> Failure | None:
    """Return the failure of an attempt whose inputs are not to be seen because their data root is not mounted now."""
    roots = list(data_roots)
    for path in paths:
        if reason := host_faults.not_mounted(path, roots):
            return Failure(failure_class="unavailable", message=f"{reason}, so its inputs cannot be compared")
    return None


def refuse(reply: Reply, changed: list[str]) -> Failure:
    """Return the failure of an attempt whose inputs changed, whatever the handler made of it."""
    named = "; ".join(changed[:NAMED_MOST])
    if len(changed) > NAMED_MOST:
        named += f"; and {len(changed) - NAMED_MOST} more"
    message = (
        f"an input changed while the attempt ran: {named}\n"
        "not retried, because inputs must never be written to: check that it is intact, then retry the task"
    )
    if isinstance(reply, Result):
        return Failure(failure_class="error", message=message, final=True)
    return Failure(
        failure_class="error",
        message=f"{message}\nthe handler itself failed: {reply.message}",
        traceback=reply.traceback,
        final=True,
    )


def _holds(path: str, own: str) -> bool:
    return own == path or own.startswith(path.rstrip("/") + "/")


def _files(path: str) -> dict[str, State]:
    """Return the state of each file at or below a path; one more than is watched means that there are too many."""
    states: dict[str, State] = {}
    if not os.path.isdir(path):  # noqa: PTH112 - thousands of files: Path takes three times as long
        _add(states, path)
        return states
    waiting = [path]
    while waiting and len(states) <= FILES_MOST:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.name not in UNSTABLE:
                    _add(states, entry.path)
    return states


def _add(states: dict[str, State], path: str) -> None:
    with contextlib.suppress(OSError):
        found = os.stat(path)  # noqa: PTH116 - see above
        states[path] = (found.st_size, found.st_mtime_ns)


def _difference(before: State | None, after: State | None) -> str:
    if before is None:
        return "is new"
    if after is None:
        return "is gone"
    return "was written to" if before[0] == after[0] else f"went from {before[0]} to {after[0]} bytes"
