"""Who descends from whom, read from /proc. Nothing but the standard library: the guardian uses it too."""

from __future__ import annotations

import os


def children() -> tuple[dict[int, list[int]], set[int]]:
    """Return the children of each process of the host, and which processes are zombies."""
    found: dict[int, list[int]] = {}
    zombies = set()
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as stat:  # noqa: PTH123 - pathlib would be loaded for this
                state, parent = stat.read(512).rpartition(b")")[2].split(None, 2)[:2]
        except OSError:
            continue
        found.setdefault(int(parent), []).append(int(name))
        if state in b"ZX":
            zombies.add(int(name))
    return found, zombies


def descendants(root: int) -> set[int]:
    """Return the pids of all living descendants of a process, zombies left out."""
    found, zombies = children()
    return below(root, found) - zombies


def below(root: int, children: dict[int, list[int]]) -> set[int]:
    """Return all that descend from `root`, given the children of each process."""
    found: set[int] = set()
    frontier = [root]
    while frontier:
        fresh = [pid for pid in children.get(frontier.pop(), []) if pid not in found]
        found.update(fresh)
        frontier.extend(fresh)
    return found


def send(pid: int, number: int) -> None:
    """Signal a process that may be gone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
