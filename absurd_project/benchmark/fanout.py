"""Many clients of one real web process: what they wait for each event, and whether each hears every one."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from absurd_project.benchmark import noop
from absurd_project.benchmark.feed_clients import Heard
from absurd_project.benchmark.measures import Figures, Progress, Sizes, Step
from absurd_project.benchmark.processes import DoesNotStart, last_words, running, web
from absurd_project.benchmark.scratch import Scratch
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn, spawn_many
from tasks_app.models import TaskEvent

EVENTS_PER_SEC = 20
FLOOD_CALL = 100
CONNECT_SEC, PATIENCE_SEC = 60, 90
_REQUEST = TaskOptions(task_name=noop.NAME, params=noop.PARAMS, queue_name=noop.QUEUE)


@dataclass(frozen=True)
class Audience:
    """Clients that are connected; ask for what they heard when everything has been committed."""

    scratch: Scratch
    clients: int

    def heard(self) -> list[Heard]:
        """Wait for the clients to have heard enough. Raises TimeoutError."""
        _, _, told = _wait_for(self.scratch, "]\n", CONNECT_SEC + PATIENCE_SEC).partition("ready\n")
        return [Heard(**each) for each in json.loads(told)]


def measure(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Tell many clients of single events at a steady rate, then of many events at once."""
    with web(scratch) as port:
        with progress.part("feed, many clients", sizes.fanout_events) as step:
            figures.add_distribution("feed_fanout", _steady(scratch, port, sizes, step))
        with progress.part("feed, many events", sizes.flood_events) as step:
            _flood(scratch, port, sizes, figures, step)


def _steady(scratch: Scratch, port: int, sizes: Sizes, step: Step) -> list[float]:
    """Return, in ms, what each client waited for each event after its commit."""
    committed: list[float] = []
    with _audience(scratch, port, sizes.fanout_clients, sizes.fanout_events) as audience:
        due = time.monotonic()
        for _ in range(sizes.fanout_events):
            due += 1 / EVENTS_PER_SEC
            time.sleep(max(0.0, due - time.monotonic()))
            committed.append(_spawn())
            step()
        heard = audience.heard()
    return [
        max(0.0, moment - since) * 1000
        for each in heard
        for since, moment in zip(committed, each.moments, strict=False)
    ]


def _flood(scratch: Scratch, port: int, sizes: Sizes, figures: Figures, step: Step) -> None:
    before = _numbers(0)[-1:] or [0]
    with _audience(scratch, port, sizes.flood_clients, sizes.flood_events) as audience:
        began = time.monotonic()
        for _ in range(0, sizes.flood_events, FLOOD_CALL):
            count = min(FLOOD_CALL, sizes.flood_events)
            spawn_many([_REQUEST] * count, actor=noop.ACTOR)
            for _ in range(count):
                step()
        heard = audience.heard()
    wanted = _numbers(before[0])
    complete = sum(each.numbers == wanted and not each.left_out for each in heard)
    took_sec = max((each.moments[-1] for each in heard if each.moments), default=began) - began
    figures.others["feed_flood_complete"] = complete / sizes.flood_clients
    figures.notes.append(
        f"feed: {complete} of {sizes.flood_clients} clients heard all of {len(wanted)} events in order "
        f"in {took_sec:.1f} s, {len(heard) * len(wanted) / took_sec if took_sec else 0:,.0f} messages/s"
    )


@contextlib.contextmanager
def _audience(scratch: Scratch, port: int, clients: int, events: int) -> Iterator[Audience]:
    """Yield when all clients are connected. Raises DoesNotStart or TimeoutError."""
    arguments = [str(number) for number in (port, clients, events, PATIENCE_SEC)]
    argv = [sys.executable, "-m", "absurd_project.benchmark.feed_clients", *arguments]
    with running([argv], scratch, "audience") as (process,):
        _wait_for(scratch, "ready\n", CONNECT_SEC)
        if process.poll() is not None:
            raise DoesNotStart(f"the clients of the feed do not connect: {last_words(_log(scratch))}")
        yield Audience(scratch, clients)


def _wait_for(scratch: Scratch, end: str, patience_sec: float) -> str:
    deadline = time.monotonic() + patience_sec
    while time.monotonic() < deadline:
        told = _log(scratch).read_text()
        if told.endswith(end):
            return told
        time.sleep(0.1)
    raise TimeoutError(f"the clients of the feed were not done after {patience_sec:.0f} s")


def _log(scratch: Scratch) -> Path:
    return scratch.directory / "audience-0.log"


def _numbers(after: int) -> Sequence[int]:
    return list(
        TaskEvent.objects.filter(id__gt=after).exclude(to_status="").order_by("id").values_list("id", flat=True)
    )


def _spawn() -> float:
    """Spawn a task and return when its commit was done."""
    committed: list[float] = []
    with transaction.atomic():
        # The first to be called after the commit, before what spawning itself wants called.
        transaction.on_commit(lambda: committed.append(time.monotonic()))
        spawn(_REQUEST, actor=noop.ACTOR)
    return committed[0]
