"""A process that measures: it reads orders, one JSON object a line, and answers each with one.

`python -m absurd_project.benchmark.client NUMBER` works on the database in its environment and ends
with its input.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings

django.setup()

from absurd_project.benchmark import load, sql_cost  # noqa: E402
from absurd_project.benchmark.load import Contender, Ours  # noqa: E402
from absurd_project.benchmark.queue import contenders  # noqa: E402
from tasks_app.maintenance.archiving import archive_batch  # noqa: E402
from tasks_app.maintenance.retention import Policy  # noqa: E402
from tasks_app.maintenance.sweeper import Sweeper  # noqa: E402
from tasks_app.models import Task, Worker  # noqa: E402

PENDING_KEPT = 2_000
SPAWNED_AT_ONCE = 500
SWEEP_SEC = 0.5
BATCH = 2_000


class Client:
    """Carries orders out with contenders of its own."""

    def __init__(self, number: int) -> None:
        worker = Worker.objects.get(label=load.worker_label(number))
        self._contenders: dict[str, Contender] = {"ours": Ours(worker)}
        if (others := contenders()) is not None:
            url = settings.ABSURD_DATABASE_URL
            self._contenders |= {name: kind(url, worker) for name, kind in others.CLASSES.items()}

    def answer(self, do: str, contender: str, **order: Any) -> dict[str, Any]:
        """Carry one order out."""
        measure: Callable[..., dict[str, Any]] = getattr(self, f"measure_{do}")
        return measure(self._contenders[contender], **order)

    @staticmethod
    def measure_spawn_one(contender: Contender, *, duration_sec: float) -> dict[str, Any]:
        contender.spawn_one()
        began, count = time.monotonic(), 0
        while time.monotonic() - began < duration_sec:
            contender.spawn_one()
            count += 1
        return {"count": count, "began": began, "ended": time.monotonic()}

    @staticmethod
    def measure_spawn_many(contender: Contender, *, size: int, calls: int) -> dict[str, Any]:
        began = time.monotonic()
        for _ in range(calls):
            contender.spawn_many(size)
        return {"count": size * calls, "began": began, "ended": time.monotonic()}

    @staticmethod
    def measure_drain(contender: Contender, *, batch: int, duration_sec: float, wait: bool = False) -> dict[str, Any]:
        """Claim and complete until the time is up or nothing is left; with `wait`, wait for more."""
        began = time.monotonic()
        by_second: Counter[int] = Counter()
        while (now := time.monotonic()) - began < duration_sec:
            claims = contender.claim(batch)
            if claims:
                contender.complete(claims)
                by_second[int(now - began)] += len(claims)
            elif wait:
                time.sleep(0.005)
            else:
                break
        ended = time.monotonic()
        timeline = [by_second[second] for second in range(int(duration_sec))]
        return {"count": by_second.total(), "began": began, "ended": ended, "by_second": timeline}

    def measure_profile(self, contender: Contender, *, what: str, **order: Any) -> dict[str, Any]:
        measure: Callable[..., dict[str, Any]] = getattr(self, f"measure_{what}")
        with sql_cost.listening() as found:
            answer = measure(contender, **order)
        return {**answer, "statements": found.rows()}

    @staticmethod
    def measure_claim_times(contender: Contender, *, count: int) -> dict[str, Any]:
        """Claim tasks one by one and time each claim."""
        times_ms = []
        for _ in range(count):
            began = time.perf_counter()
            claims = contender.claim(1)
            times_ms.append((time.perf_counter() - began) * 1000)
            if not claims:
                raise RuntimeError("there was nothing left to claim")
        return {"times_ms": times_ms}

    @staticmethod
    def measure_claim_buffers(contender: Contender, *, count: int) -> dict[str, Any]:
        return {"buffers": [sql_cost.of_one_claim(lambda: contender.claim(1)) for _ in range(count)]}

    @staticmethod
    def measure_produce(contender: Contender, *, duration_sec: float) -> dict[str, Any]:
        """Keep some tasks pending, not more and not fewer than the claimers need."""
        began, spawned = time.monotonic(), 0
        while time.monotonic() - began < duration_sec:
            if Task.objects.claimable().in_queue(load.QUEUE)[:PENDING_KEPT].count() < PENDING_KEPT:
                contender.spawn_many(SPAWNED_AT_ONCE)
                spawned += SPAWNED_AT_ONCE
            else:
                time.sleep(0.01)
        return {"spawned": spawned}

    def measure_prune(self, contender: Contender, *, duration_sec: float) -> dict[str, Any]:
        return {"pruned": sweep_and_prune(duration_sec)}


def sweep_and_prune(duration_sec: float) -> int:
    """Do both every half second; return how many tasks were archived."""
    sweeper, began, pruned = Sweeper(), time.monotonic(), 0
    while time.monotonic() - began < duration_sec:
        sweeper.sweep()
        while (moved := _prune()) > 0 and time.monotonic() - began < duration_sec:
            pruned += moved
            if moved < BATCH:
                break
        time.sleep(SWEEP_SEC)
    return pruned


def _prune() -> int:
    return archive_batch(Policy.configured().narrowed(older_than_days=0), limit=BATCH).moved.total()


def main() -> None:
    """Carry out commands until the input ends."""
    load.register()
    client = Client(int(sys.argv[1]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(client.answer(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
