"""What every peer is asked: orders on standard input, one JSON object a line, an answer for each.

`python -m tests.benchmark.peers.NAME` takes orders, `… NAME worker CONCURRENCY` is the peer's own worker.
"""

from __future__ import annotations

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

DATABASE_URL = "BENCHMARK_DATABASE_URL"
REDIS_URL = "BENCHMARK_REDIS_URL"
PREFIX = "BENCHMARK_PREFIX"
PICKUPS = "BENCHMARK_PICKUPS"
"""Environment variables: where the peer may work, and where its tasks note how long they waited."""

MS_PATH = "/stage/dsa110/2026-01-15T08:30:00_sb00.ms"
"""The same params as ours."""


def note_pickup(spawned_at: float) -> None:
    """Note, inside a task, how long it took from before it was enqueued until now."""
    delay_ms = (time.time() - spawned_at) * 1000
    with Path(os.environ[PICKUPS]).open("a") as notes:
        notes.write(f"{delay_ms}\n")


class Peer(ABC):
    """One other queue."""

    version: str
    many = 3_000
    """Number of tasks that are made ready for a worker: enough for several seconds."""

    @abstractmethod
    def set_up(self) -> None:
        """Make the tables, or whatever is needed, and connect."""

    @abstractmethod
    def reset(self) -> None:
        """Remove all tasks."""

    @abstractmethod
    def enqueue(self) -> None:
        """Enqueue one task that does nothing."""

    @abstractmethod
    def enqueue_many(self, count: int) -> None:
        """Enqueue many, in the way that the peer offers for it."""

    @abstractmethod
    def enqueue_stamped(self, spawned_at: float) -> None:
        """Enqueue one task that calls `note_pickup`."""

    @abstractmethod
    def left(self) -> int:
        """Return how many tasks have not ended."""

    @abstractmethod
    def work(self, concurrency: int) -> None:
        """Be a worker until killed."""


def run(peer: Peer) -> None:
    """Be a worker or take orders, as the command line says; leave no task behind."""
    if sys.argv[1:2] == ["worker"]:
        peer.work(int(sys.argv[2]))
        return
    peer.set_up()
    print(json.dumps({"version": peer.version, "many": peer.many}), flush=True)
    try:
        for line in sys.stdin:
            print(json.dumps(_answer(peer, **json.loads(line))), flush=True)
    finally:
        peer.reset()


def _answer(peer: Peer, do: str, **order: Any) -> dict[str, Any]:
    if do == "left":
        return {"left": peer.left()}
    if do == "reset":
        peer.reset()
        return {}
    if do == "stamped":
        peer.enqueue_stamped(time.time())
        return {}
    began, count = time.monotonic(), 0
    if do == "enqueue_many":
        count = order["count"]
        peer.enqueue_many(count)
    while do == "enqueue" and time.monotonic() - began < order["duration_sec"]:
        peer.enqueue()
        count += 1
    return {"count": count, "began": began, "ended": time.monotonic()}
