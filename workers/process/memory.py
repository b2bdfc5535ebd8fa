"""How much memory an attempt may take, and what the host says of its own."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tasks_app.engine.worker_calls import Claim
from workers import host_size

FREE_FOR_STACKS_BYTES = 2_000_000_000
"""Taking the stacks may need 0.3 s, in which a greedy attempt can touch another gigabyte."""


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
