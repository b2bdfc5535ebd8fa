"""What runs: the command line of each process of the stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process to keep running: the name it is shown under, its argv, and what to add to the environment."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    may_end: bool = False
    """Whether it is left alone after it has ended well: somebody wished it."""


def web_process(port: int) -> Process:
    """Return the web server: console, REST API and live feed, on the loopback address only."""
    argv = ("-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port), "absurd_project.asgi:application")
    return Process(name="web", argv=(sys.executable, *argv), environment={"ABSURD_PORT": str(port)})


def worker_process(number: int, *, concurrency: int | None = None, options: tuple[str, ...] = ()) -> Process:
    """Return worker `worker-<number>`; `options` are further options of runworker."""
    label = f"worker-{number}"
    slots = concurrency or default_concurrency()
    worker = _manage(label, "runworker", "--worker-id", label, "--concurrency", str(slots), *options)
    return replace(worker, may_end=True)


def ingest_process(directory: Path) -> Process:
    """Return the process that watches a directory for raw files."""
    return _manage("ingest", "absurd_ingest", "--watch", str(directory))


def default_processes(port: int, incoming: Path) -> list[Process]:
    """Return what `absurd_up` runs: web, two workers, ingest."""
    workers = [worker_process(number) for number in range(1, WORKERS + 1)]
    return [web_process(port), *workers, ingest_process(incoming)]


def default_concurrency() -> int:
    """Return the slots of one worker: the workers together fill the cores, none has more than four."""
    return max(1, min(4, (os.cpu_count() or 1) // WORKERS))


def _manage(name: str, *arguments: str) -> Process:
    return Process(name=name, argv=(sys.executable, str(CHECKOUT / "manage.py"), *arguments))
