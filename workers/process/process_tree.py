"""Who descends from whom, read from /proc. Nothing but the standard library: the guardian uses it too."""

from __future__ import annotations

import os


def pids() -> set[int]:
    """Return all processes of the host."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208


def state_and_parent(pid: int) -> tuple[bytes, int]:
    """Return in which state a process is and whose child. Raises OSError when it is gone."""
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:  # noqa: PTH123 - pathlib would be loaded for this alone
        state, parent = stat.read(512).rpartition(b")")[2].split(None, 2)[:2]
    return state, int(parent)


def children_of(parents: dict[int, int]) -> dict[int, list[int]]:
    """Turn around who is whose child."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    return children


def descendants(root: int) -> set[int]:
    """Return the pids of all living descendants of a process, zombies left out."""
    parents: dict[int, int] = {}
    zombies = set()
    for pid in pids():
        try:
            state, parents[pid] = state_and_parent(pid)
        except OSError:
            continue
        if state in b"ZX":
            zombies.add(pid)
    return below(root, children_of(parents)) - zombies


def below(root: int, children: dict[int, list[int]]) -> set[int]:
    """Return all that descend from `root`, given everybody's children."""
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
