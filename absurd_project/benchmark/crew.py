"""The processes that measure, several at once, on the scratch database."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from absurd_project.benchmark import noop
from absurd_project.benchmark.scratch import Scratch
from absurd_project.local.processes import CHECKOUT
from tasks_app.models import Queue, Worker

HANDS = 4


class HandFailed(Exception):
    """A measuring process has ended; its last words are the message."""


class Crew:
    """Gives orders to measuring processes and reads their answers."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def order(self, hands: int = 1, **order: Any) -> list[dict[str, Any]]:
        """Let the first `hands` processes do the same at the same time; return what each answers.

        Raises HandFailed.
        """
        chosen = self._processes[:hands]
        self.begin(chosen, order)
        return [self.answer(process) for process in chosen]

    def order_each(self, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Let each process do something else at the same time; return what each answers.

        Raises HandFailed.
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
            raise HandFailed(f"a measuring process ended with code {process.wait()}; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def rate(answers: list[dict[str, Any]]) -> float:
    """Return tasks per second from the first beginning to the last end."""
    return sum(a["count"] for a in answers) / (max(a["ended"] for a in answers) - min(a["began"] for a in answers))


@contextlib.contextmanager
def crew(scratch: Scratch, hands: int = HANDS) -> Iterator[Crew]:
    """Start the processes with a queue and a worker row each, and end them with the block."""
    with scratch.here():
        _prepare(hands)
    processes: list[subprocess.Popen[str]] = []
    try:
        processes += [_start(scratch, number) for number in range(hands)]
        whole = Crew(processes)
        for process in processes:
            whole.answer(process)
        yield whole
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()


def _prepare(hands: int) -> None:
    Queue.objects.get_or_create(name=noop.QUEUE)
    for number in range(hands):
        Worker.objects.create(
            label=noop.worker_label(number), host="benchmark", host_id="benchmark", pid=1, queues=[noop.QUEUE],
            concurrency=100, memory_gb=1000,
        )  # fmt: skip


def _start(scratch: Scratch, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "absurd_project.benchmark.hand", str(number)],
        cwd=CHECKOUT,
        env=scratch.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
