"""Compiled loops in several threads.

A loop that releases the interpreter's lock works on the items `low` to `high` of its first axis, its last two
arguments. numba's own parallel loops would do the same, and take two to three times longer to compile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

_PARTS_PER_THREAD = 4


def allowed() -> int:
    """Return how many threads this process may use: as many as its task declared cores, or as it has itself."""
    declared = os.environ.get("OMP_NUM_THREADS", "")
    return int(declared) if declared.isdecimal() and int(declared) else len(os.sched_getaffinity(0))


def in_parts(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call `kernel(*arguments, low, high)` for all of `range(count)`, in several threads."""
    threads = min(allowed(), count)
    if threads < 2:
        kernel(*arguments, 0, count)
        return
    edges = np.linspace(0, count, min(count, threads * _PARTS_PER_THREAD) + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda low, high: kernel(*arguments, low, high), edges[:-1], edges[1:]))
