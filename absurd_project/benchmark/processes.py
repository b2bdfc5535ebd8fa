"""Real workers and a real web process on the scratch database, ended with the block that started them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from absurd_project.benchmark import noop
from absurd_project.benchmark.scratch import Scratch
from absurd_project.local.processes import CHECKOUT
from absurd_project.local.unprivileged import launcher
from tasks_app.models import Queue, Worker

START_SEC = 60.0
STOP_SEC = 10.0
SETTLE_SEC = 1.0
"""A process that has just started still has things to load and connections to make."""


class DoesNotStart(Exception):
    """A process of the benchmark ended or never answered; the message has its last words."""


@contextlib.contextmanager
def web(scratch: Scratch) -> Iterator[int]:
    """Yield the port of 127.0.0.1 on which a web process serves the scratch database.

    Raises DoesNotStart.
    """
    port = _free_port()
    argv = ["-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port), "absurd_project.asgi:application"]
    with running([[sys.executable, *argv]], scratch, "web") as (process,):
        _wait_until(lambda: _answers(port), process, scratch.directory / "web-0.log")
        time.sleep(SETTLE_SEC)
        yield port


@contextlib.contextmanager
def workers(
    scratch: Scratch, queue_name: str, *, count: int, concurrency: int, options: Sequence[str] = ()
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run workers of a queue; yield them when all have registered.

    Raises DoesNotStart.
    """
    labels = [f"{queue_name}-{os.getpid()}-{time.monotonic_ns()}-{number}" for number in range(count)]
    argvs = [
        [sys.executable, "manage.py", "runworker", "--queue-name", queue_name, "--worker-id", label,
         "--concurrency", str(concurrency), "--drain-timeout", "1", *options]
        for label in labels
    ]  # fmt: skip
    with running(argvs, scratch, "worker") as processes:
        for number, (process, label) in enumerate(zip(processes, labels, strict=True)):
            log = scratch.directory / f"worker-{number}.log"
            _wait_until(Worker.objects.filter(label=label).exists, process, log)
        time.sleep(SETTLE_SEC)
        yield processes


@contextlib.contextmanager
def running(
    argvs: Sequence[Sequence[str]], scratch: Scratch, name: str, environment: Mapping[str, str] | None = None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run processes that end with the block, and with this process whatever happens to it."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, argv in enumerate(argvs):
            with (scratch.directory / f"{name}-{number}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [*launcher("--end-with", str(os.getpid())), *argv],
                        cwd=CHECKOUT,
                        env=scratch.environment if environment is None else dict(environment),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        yield processes
    finally:
        _end(processes)


def memory_mb(processes: Sequence[subprocess.Popen[bytes]], log: Path) -> float:
    """Return the memory of the largest process with all it has started, shared pages counted in proportion, in MB.

    Raises DoesNotStart, with the end of the log, when one of them has ended.
    """
    try:
        return max(_pss_kb(process.pid) for process in processes) / 1024
    except ProcessLookupError:
        raise DoesNotStart(f"a worker has ended: {last_words(log)}") from None


def last_words(log: Path) -> str:
    """Return the last line of a log, with what to do about it where that is known."""
    lines = log.read_text().strip().splitlines()
    last = lines[-1] if lines else "it ended without a word"
    return f"{last}: pip install absurd-dsa110[bench]" if "ModuleNotFoundError" in last else last


def _pss_kb(pid: int) -> int:
    total = 0
    for each in (pid, *(child.pid for child in _descendants(pid))):
        rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    trees = [child for process in processes for child in _descendants(process.pid)]
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SEC
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, left = psutil.wait_procs(trees, timeout=2)
    for orphan in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SEC
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DoesNotStart(f"a process of the benchmark does not start: {last_words(log)}")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/absurd/health", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


CLIENTS = 4


class ClientFailed(Exception):
    """A measuring process has ended; its last words are the message."""


class ClientPool:
    """Gives orders to measuring processes and reads their answers."""

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
    Queue.objects.get_or_create(name=noop.QUEUE)
    for number in range(clients):
        Worker.objects.create(
            label=noop.worker_label(number), host="benchmark", host_id="benchmark", pid=1, queues=[noop.QUEUE],
            concurrency=100, memory_gb=1000,
        )  # fmt: skip


def _start(scratch: Scratch, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "absurd_project.benchmark.client_process", str(number)],
        cwd=CHECKOUT,
        env=scratch.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
