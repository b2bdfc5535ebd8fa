"""A process that measures: it reads orders, one JSON object a line, and answers each with one.

`python -m absurd_project.benchmark.client_process NUMBER` works on the database in its environment and ends
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

from absurd_project.benchmark import noop, sql_cost  # noqa: E402
from absurd_project.benchmark.contenders import Contender  # noqa: E402
from absurd_project.benchmark.contenders.bare import Bare  # noqa: E402
from absurd_project.benchmark.contenders.ours import Ours  # noqa: E402
from absurd_project.benchmark.contenders.raw import Raw  # noqa: E402
from tasks_app.maintenance.archiving import archive_batch  # noqa: E402
from tasks_app.maintenance.retention import Policy  # noqa: E402
from tasks_app.maintenance.sweeper import Sweeper  # noqa: E402
from tasks_app.models import Task, Worker  # noqa: E402

PENDING_KEPT = 2_000
SPAWNED_AT_ONCE = 500


class Client:
    """Carries orders out with contenders of its own."""

    def __init__(self, number: int) -> None:
        worker = Worker.objects.get(label=noop.worker_label(number))
        url = settings.ABSURD_DATABASE_URL
        self._contenders: dict[str, Contender] = {
            "ours": Ours(worker),
            "raw": Raw(url, worker_id=worker.pk, label=worker.label),
            "bare": Bare(url),
        }

    def answer(self, do: str, contender: str, **order: Any) -> dict[str, Any]:
        """Carry one order out."""
        acts: dict[str, Callable[..., dict[str, Any]]] = {
            "spawn_one": self._spawn_one,
            "spawn_many": self._spawn_many,
            "drain": self._drain,
            "profile": self._profile,
            "claim_times": self._claim_times,
            "claim_buffers": self._claim_buffers,
            "produce": self._produce,
            "prune": self._prune,
        }
        return acts[do](self._contenders[contender], **order)

    @staticmethod
    def _spawn_one(contender: Contender, *, duration_sec: float) -> dict[str, Any]:
        contender.spawn_one()
        began, count = time.monotonic(), 0
        while time.monotonic() - began < duration_sec:
            contender.spawn_one()
            count += 1
        return {"count": count, "began": began, "ended": time.monotonic()}

    @staticmethod
    def _spawn_many(contender: Contender, *, size: int, calls: int) -> dict[str, Any]:
        began = time.monotonic()
        for _ in range(calls):
            contender.spawn_many(size)
        return {"count": size * calls, "began": began, "ended": time.monotonic()}

    @staticmethod
    def _drain(contender: Contender, *, batch: int, duration_sec: float, patient: bool = False) -> dict[str, Any]:
        """Claim and complete until the time is up or nothing is left; a patient one waits for more."""
        began = time.monotonic()
        by_second: Counter[int] = Counter()
        while (now := time.monotonic()) - began < duration_sec:
            claims = contender.claim(batch)
            if claims:
                contender.complete(claims)
                by_second[int(now - began)] += len(claims)
            elif patient:
                time.sleep(0.005)
            else:
                break
        ended = time.monotonic()
        timeline = [by_second[second] for second in range(int(duration_sec))]
        return {"count": by_second.total(), "began": began, "ended": ended, "by_second": timeline}

    def _profile(self, contender: Contender, *, what: str, **order: Any) -> dict[str, Any]:
        act: Callable[..., dict[str, Any]] = getattr(self, f"_{what}")
        with sql_cost.listening() as found:
            answer = act(contender, **order)
        return {**answer, "statements": found.rows()}

    @staticmethod
    def _claim_times(contender: Contender, *, count: int) -> dict[str, Any]:
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
    def _claim_buffers(contender: Contender, *, count: int) -> dict[str, Any]:
        return {"buffers": [sql_cost.of_one_claim(lambda: contender.claim(1)) for _ in range(count)]}

    @staticmethod
    def _produce(contender: Contender, *, duration_sec: float) -> dict[str, Any]:
        """Keep some tasks pending, not more and not fewer than the claimers need."""
        began, spawned = time.monotonic(), 0
        while time.monotonic() - began < duration_sec:
            if Task.objects.claimable().in_queue(noop.QUEUE)[:PENDING_KEPT].count() < PENDING_KEPT:
                contender.spawn_many(SPAWNED_AT_ONCE)
                spawned += SPAWNED_AT_ONCE
            else:
                time.sleep(0.01)
        return {"spawned": spawned}

    def _prune(self, contender: Contender, *, duration_sec: float) -> dict[str, Any]:
        return {"pruned": sweep_and_prune(duration_sec)}


def main() -> None:
    """Carry out commands until the input ends."""
    noop.register()
    hand = Client(int(sys.argv[1]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(hand.answer(**json.loads(line))), flush=True)


SWEEP_SEC = 0.5
BATCH = 2_000


def sweep_and_prune(duration_sec: float) -> int:
    """Do both every half second; return how many tasks were archived."""
    sweeper, began, pruned = Sweeper(), time.monotonic(), 0
    while time.monotonic() - began < duration_sec:
        sweeper.sweep()
        while (few := _prune()) > 0 and time.monotonic() - began < duration_sec:
            pruned += few
            if few < BATCH:
                break
        time.sleep(SWEEP_SEC)
    return pruned


def _prune() -> int:
    return archive_batch(Policy.configured().narrowed(older_than_days=0), limit=BATCH).moved.total()


if __name__ == "__main__":
    main()
