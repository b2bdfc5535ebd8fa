"""The same work on each peer: enqueue one and many, let its real workers do nothing, wait for a pickup."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Iterator

from absurd_project.benchmark.measures import Figures, Progress, Sizes
from absurd_project.benchmark.queue import rate
from absurd_project.benchmark.scratch import Scratch, memory_mb, processes
from absurd_project.benchmark.workers import CONCURRENCY, END_SHARE, WARM_SHARE, WORKERS, rate_name
from tests.benchmark.peers.processes import Peer, read_pickups

POLL_SEC = 0.05
FIRST_SEC = 30.0
WARM_SEC = 4.0
PAUSE_SEC = (0.05, 0.25)
LAST_SEC = 5.0


def measure_round(peer: Peer, scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure one round of rates."""
    count = int(sizes.peer_share * peer.many)
    with progress.part(peer.name, 2 + len(WORKERS)) as step:
        peer.order("reset")
        one = peer.order("enqueue", duration_sec=sizes.spawn_one_sec)
        figures.add_rate(f"spawn_one_{peer.name}", rate([one]))
        step()
        for workers in WORKERS:
            peer.order("reset")
            many = peer.order("enqueue_many", count=count)
            figures.add_rate(f"spawn_many_{peer.name}", rate([many]))
            per_sec, memory = _drain(peer, count, scratch, sizes, workers)
            figures.add_rate(rate_name(peer.name, workers), per_sec)
            figures.add_memory(peer.name, memory)
            step()


def measure_pickup(peer: Peer, scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure how long an idle worker takes to begin: from before the call until inside the task."""
    peer.order("reset")
    with (
        _workers(peer, scratch, 1),
        progress.part(f"{peer.name} pickup", sizes.peer_pickups) as step,
    ):
        time.sleep(WARM_SEC)
        for _ in range(sizes.peer_pickups):
            time.sleep(random.uniform(*PAUSE_SEC))
            peer.order("stamped")
            step()
        figures.add_distribution(f"pickup, {peer.name}", read_pickups(peer, sizes.peer_pickups, LAST_SEC))


@contextlib.contextmanager
def _workers(peer: Peer, scratch: Scratch, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run workers of a peer, ended with the block."""
    with processes(scratch, environment=peer.environment) as started:
        log = scratch.directory / f"{peer.name}-worker.log"
        yield [started.launch(peer.worker_argv(CONCURRENCY), log) for _ in range(count)]


def _drain(peer: Peer, tasks: int, scratch: Scratch, sizes: Sizes, count: int) -> tuple[float, float]:
    """Return tasks per second once the workers are at it, and the memory of a worker."""
    seen: list[tuple[float, int]] = []
    with _workers(peer, scratch, count) as started:
        began = time.monotonic()
        while True:
            seen.append((time.monotonic(), tasks - peer.order("left")["left"]))
            started_at = next((at for at, done in seen if done > 0), None)
            if started_at is None and time.monotonic() - began > FIRST_SEC:
                break
            if seen[-1][1] >= tasks or (started_at and time.monotonic() - started_at > sizes.worker_sec):
                break
            time.sleep(POLL_SEC)
        memory = memory_mb(started)
    return _slope(seen, tasks), memory


def _slope(seen: list[tuple[float, int]], wanted: int) -> float:
    """Return how many ended a second, leaving out the beginning and, when all were done, the end."""
    most = seen[-1][1]
    upper = END_SHARE * most if most >= wanted else most
    first = next(pair for pair in seen if pair[1] >= WARM_SHARE * most)
    last = next(pair for pair in seen if pair[1] >= upper)
    return (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else 0.0
