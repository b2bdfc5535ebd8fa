"""What the processes of an attempt use, read from /proc, and how much memory they may take.

What a process has used counts on after its end in the parent that waited for it, so nothing is lost when a helper of
the handler ends. The final figures are the kernel's own account, which the guardian reports (`getrusage`).
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tasks_app.engine.claim import Claim
from workers import host_size
from workers.process import process_tree

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
READ_AGAIN_SEC = 0.5
FREE_FOR_STACKS_BYTES = 2_000_000_000
"""Taking the stacks may need 0.3 s, in which a greedy attempt can touch another gigabyte."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a family of processes holds and has used so far."""

    rss_bytes: int = 0
    own_bytes: int = 0
    """Memory that only they hold; mapped files are not counted."""
    cpu_sec: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0

    def since(self, base: Usage) -> Usage:
        """Return this without what had been used by then; memory is what is held now."""
        return replace(
            self,
            cpu_sec=max(0.0, self.cpu_sec - base.cpu_sec),
            read_bytes=max(0, self.read_bytes - base.read_bytes),
            write_bytes=max(0, self.write_bytes - base.write_bytes),
        )


class ProcessTree:
    """Who descends from whom; all attempts that are measured together share one reading."""

    def __init__(self) -> None:
        self._children: dict[int, list[int]] = {}
        self._read_at = float("-inf")

    def below(self, root: int) -> set[int]:
        if time.monotonic() - self._read_at > READ_AGAIN_SEC:
            self._children, _ = process_tree.children()
            self._read_at = time.monotonic()
        return process_tree.below(root, self._children)


_tree = ProcessTree()


def measure(guardian: int) -> Usage:
    """Return what the descendants of a guardian use, those that have ended included."""
    rss = own = read = written = 0
    ticks = _ticks(guardian, ended_only=True)
    for pid in _tree.below(guardian):
        try:
            resident, shared = map(int, _content(f"/proc/{pid}/statm").split()[1:3])
            rss += resident * PAGE_BYTES
            own += (resident - shared) * PAGE_BYTES
            ticks += _ticks(pid)
            counts = dict(line.split(b": ") for line in _content(f"/proc/{pid}/io").splitlines())
            read += int(counts[b"read_bytes"])
            written += int(counts[b"write_bytes"])
        except (OSError, ValueError, KeyError):
            continue
    return Usage(rss_bytes=rss, own_bytes=own, cpu_sec=ticks / TICKS_PER_SEC, read_bytes=read, write_bytes=written)


def _ticks(pid: int, *, ended_only: bool = False) -> int:
    """Return the processor time of a process and of those that it has waited for; 0 when it is gone."""
    try:
        fields = _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[13 if ended_only else 11 : 15]))


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - every second for each process: Path costs twice as much
        return file.read(4096)


def ceiling_gb(claim: Claim, host_memory_gb: float) -> float:
    """Return the memory at which an attempt is stopped.

    A declaration is for admission and an estimate: the first attempt may take twice as much, each further one twice as
    much as the last, up to the host's share.
    """
    return max(claim.memory_gb, min(host_memory_gb, claim.memory_gb * 2.0**claim.attempt))


def stacks_can_be_taken() -> bool:
    """Return whether the host can bear what a greedy attempt may take while its stacks are written."""
    return host_size.free_bytes() > FREE_FOR_STACKS_BYTES


def oom_kills() -> int:
    """Return how many processes the kernel has killed on this host for want of memory."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
