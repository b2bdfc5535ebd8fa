"""How large the host is for this worker: the machine, or what control groups and Slurm leave of it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil

from workers import cgroups

MEGABYTE = 1024 * 1024
"""Slurm counts in these."""


def memory_bytes(root: Path = Path("/")) -> float:
    """Return the memory that all workers of the host may use together."""
    return min(psutil.virtual_memory().total, cgroups.limits(root).memory_bytes, _slurm_memory_bytes())


def free_bytes(root: Path = Path("/")) -> float:
    """Return the memory that is free now."""
    return min(psutil.virtual_memory().available, cgroups.limits(root).free_bytes)


def cores(root: Path = Path("/")) -> int:
    """Return the cores that this process may keep busy, at least 1; a part of a core does not count."""
    allowed = float(len(os.sched_getaffinity(0)))
    return max(1, int(min(allowed, cgroups.limits(root).cores, _slurm_number("SLURM_CPUS_ON_NODE"))))


def _slurm_memory_bytes() -> float:
    of_node = _slurm_number("SLURM_MEM_PER_NODE")
    of_cpus = _slurm_number("SLURM_MEM_PER_CPU") * _slurm_number("SLURM_CPUS_ON_NODE")
    return min(of_node, of_cpus) * MEGABYTE


def _slurm_number(name: str) -> float:
    """Return a number of a Slurm allocation; infinite where there is none, or 0, which stands for everything."""
    text = os.environ.get(name, "")
    return float(text) if text.isascii() and text.isdigit() and int(text) > 0 else math.inf
