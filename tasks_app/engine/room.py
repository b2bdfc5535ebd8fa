"""What a host has left for tasks, and which tasks may be claimed with it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

CORES_MOST = 32_767
"""More than any host has, and the largest that a task's column holds."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory, cores and disk; without arguments, boundless."""

    memory_gb: float = math.inf
    cores: int = CORES_MOST
    disk_gb: float = math.inf
    host_cores: int = CORES_MOST
    """All cores of the host that tasks may have: a task that declares more is content with these."""

    def without(self, *, memory_gb: float, cores: int, disk_gb: float) -> Room:
        """Return what is left after a task that needs so much."""
        return Room(
            memory_gb=self.memory_gb - memory_gb,
            cores=self.cores - min(cores, self.host_cores),
            disk_gb=self.disk_gb - disk_gb,
            host_cores=self.host_cores,
        )

    def holds(self, *, memory_gb: float, cores: int, disk_gb: float) -> bool:
        """Whether a task that needs so much finds room."""
        return memory_gb <= self.memory_gb and min(cores, self.host_cores) <= self.cores and disk_gb <= self.disk_gb


def class_is_open(memory_class: int, free_gb: float, total_gb: float) -> bool:
    """Whether tasks of a memory class, up to 2**n GB, may be claimed now.

    The smallest class is always open, for what needs next to nothing. On an empty host the class that the whole share
    lies within is open too: it holds tasks that do fit.
    """
    if memory_class == 0 or 2**memory_class <= free_gb:
        return True
    return free_gb >= total_gb and 2 ** (memory_class - 1) < total_gb
