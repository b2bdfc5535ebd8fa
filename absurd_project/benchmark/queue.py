"""Spawning, claiming and completing by processes that call the queue's functions: ours, and beside it others."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from absurd_project.benchmark import load
from absurd_project.benchmark.measures import Figures, Progress, Sizes
from absurd_project.benchmark.scratch import Scratch
from absurd_project.local.locations import CHECKOUT
from tasks_app.models import Queue, Task, TaskStatus, Worker

CLIENTS = 4
BATCHES = (1, 10, 100)
PROCESSES = (1, 4)
WINDOW_SEC = 10
CONTENDERS = "tests.benchmark.contenders"
"""Part of the checkout only: the same rows raw, and one bare table."""


def contenders() -> ModuleType | None:
    """Return what ours is compared with, None where the tests are not installed."""
    try:
        return import_module(CONTENDERS)
    except ModuleNotFoundError:
        return None


def contender_names() -> list[str]:
    """Return what is measured, ours first."""
    others = contenders()
    return ["ours", *(others.CLASSES if others is not None else ())]


def prepare() -> None:
    """Make the tables of the others."""
    if (others := contenders()) is not None:
        others.prepare()


def _fill(pending: int) -> None:
    """Empty all tables, then give them a short history and pending tasks."""
    load.fill(pending)
    if (others := contenders()) is not None:
        others.fill(pending)


def _top_up(pending: int) -> None:
    """Add pending tasks up to a number; finished ones stay."""
    left = Task.objects.filter(status=TaskStatus.PENDING).count()
    load.add_pending(max(0, pending - left))
    if (others := contenders()) is not None:
        others.top_up(pending)


class ClientFailed(Exception):
    """A measuring process has ended; the message says so."""


class ClientPool:
    """Sends orders to measuring processes and reads their answers."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def order(self, clients: int = 1, **order: Any) -> list[dict[str, Any]]:
        """Let the first `clients` processes do the same at the same time; return what each answers.

        Raises ClientFailed.
        """
        chosen = self._processes[:clients]
        self.begin(chosen, order)
        return [self.answer(process) for process in chosen]

    def order_each(self, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Let each process do something else at the same time; return what each answers.

        Raises ClientFailed.
        """
        chosen = self._processes[: len(orders)]
        for process, order in zip(chosen, orders, strict=True):
            self.begin([process], order)
        return [self.answer(process) for process in chosen]

    def begin(self, chosen: list[subprocess.Popen[str]], order: dict[str, Any]) -> None:
        """Send an order without waiting for the answer."""
        for process in chosen:
            assert process.stdin is not None  # noqa: S101 - opened as a pipe below
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()

    def answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for one answer."""
        assert process.stdout is not None  # noqa: S101 - opened as a pipe below
        line = process.stdout.readline()
        if not line:
            raise ClientFailed(f"a measuring process ended with code {process.wait()}; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def rate(answers: list[dict[str, Any]]) -> float:
    """Return tasks per second from the first beginning to the last end."""
    return sum(a["count"] for a in answers) / (max(a["ended"] for a in answers) - min(a["began"] for a in answers))


@contextlib.contextmanager
def client_pool(scratch: Scratch, clients: int = CLIENTS) -> Iterator[ClientPool]:
    """Start the processes with a queue and a worker row each, and end them with the block."""
    with scratch.here():
        _prepare(clients)
    processes: list[subprocess.Popen[str]] = []
    try:
        processes += [_start(scratch, number) for number in range(clients)]
        whole = ClientPool(processes)
        for process in processes:
            whole.answer(process)
        yield whole
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()


def _prepare(clients: int) -> None:
    Queue.objects.get_or_create(name=load.QUEUE)
    for number in range(clients):
        Worker.objects.create(
            label=load.worker_label(number), host="benchmark", host_id="benchmark", pid=1, queues=[load.QUEUE],
            concurrency=100, memory_gb=1000,
        )  # fmt: skip


def _start(scratch: Scratch, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "absurd_project.benchmark.client", str(number)],
        cwd=CHECKOUT,
        env=scratch.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def drain_name(batch: int, processes: int, contender: str) -> str:
    """Return how the rate of claiming and completing is called."""
    return f"claim_complete_b{batch}_p{processes}_{contender}"


def measure_spawning(clients: ClientPool, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure one task a call and many a call."""
    names = contender_names()
    with progress.part("spawn", sizes.rounds * len(names) * 2) as step:
        for _ in range(sizes.rounds):
            for contender in names:
                _fill(0)
                one = clients.order(do="spawn_one", contender=contender, duration_sec=sizes.spawn_one_sec)
                figures.add_rate(f"spawn_one_{contender}", rate(one))
                step()
                many = clients.order(
                    do="spawn_many", contender=contender, size=sizes.spawn_many, calls=sizes.spawn_many_calls
                )
                figures.add_rate(f"spawn_many_{contender}", rate(many))
                step()
    ratio = figures.ratio("spawn_many_ours", "spawn_many_raw")
    if ratio is not None:
        figures.ratios["spawn_many_vs_raw"] = ratio


def measure_draining(clients: ClientPool, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure claim and completion at several batch sizes, with one process and with several."""
    names = contender_names()
    cases = [(batch, processes, who) for batch in BATCHES for processes in PROCESSES for who in names]
    with progress.part("claim and complete", sizes.rounds * len(cases)) as step:
        _fill(sizes.drain_pending)
        for _ in range(sizes.rounds):
            for batch, processes, who in cases:
                _top_up(sizes.drain_pending)
                answers = clients.order(processes, do="drain", contender=who, batch=batch, duration_sec=sizes.drain_sec)
                figures.add_rate(drain_name(batch, processes, who), rate(answers))
                step()
    pairs = [(drain_name(10, processes, "ours"), drain_name(10, processes, "raw")) for processes in PROCESSES]
    ratio = figures.lower_ratio(pairs)
    if ratio is not None:
        figures.ratios["claim_complete_b10_vs_raw"] = ratio


def profile_calls(clients: ClientPool, sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Return where the time goes: of one spawn, of one spawn of many, of claim and completion at batch 10."""
    found = {}
    for who in contender_names()[:2]:
        orders: dict[str, tuple[int, dict[str, Any]]] = {
            "spawn one": (1, {"what": "spawn_one", "duration_sec": sizes.profile_sec}),
            f"spawn {sizes.spawn_many:,}": (
                sizes.spawn_many,
                {"what": "spawn_many", "size": sizes.spawn_many, "calls": sizes.spawn_many_calls},
            ),
            "claim and complete, batch 10": (10, {"what": "drain", "batch": 10, "duration_sec": sizes.profile_sec}),
        }
        for name, (tasks_a_call, order) in orders.items():
            _fill(sizes.drain_pending if order["what"] == "drain" else 0)
            (answer,) = clients.order(do="profile", contender=who, **order)
            found[f"{name}, {who}"] = {**answer, "tasks_a_call": tasks_a_call}
    return found


def measure_churn(clients: ClientPool, duration_sec: int, figures: Figures, progress: Progress) -> None:
    """Compare the first seconds with the last."""
    _fill(0)
    window = min(WINDOW_SEC, duration_sec // 2)
    orders = (
        {"do": "produce", "duration_sec": duration_sec},
        {"do": "prune", "duration_sec": duration_sec},
        {"do": "drain", "batch": 10, "duration_sec": duration_sec, "wait": True},
        {"do": "drain", "batch": 10, "duration_sec": duration_sec, "wait": True},
    )
    with progress.part(f"churn for {duration_sec} s", 1) as step:
        answers = clients.order_each([{**order, "contender": "ours"} for order in orders])
        step()
    by_second = [sum(both) for both in zip(*(a["by_second"] for a in answers if "by_second" in a), strict=True)]
    first, last = statistics.mean(by_second[:window]), statistics.mean(by_second[-window:])
    figures.add_rate("churn_first", first)
    figures.add_rate("churn_last", last)
    figures.others["churn_last_vs_first"] = last / first
    pruned = next(a["pruned"] for a in answers if "pruned" in a)
    figures.notes.append(f"churn: {sum(by_second):,} tasks completed and {pruned:,} pruned in {duration_sec} s")
