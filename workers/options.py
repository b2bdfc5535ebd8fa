"""The command line of `runworker`, with the settings as defaults."""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings

from tasks_app import validation
from tasks_app.management.arguments import number, whole
from workers import host_size

CONCURRENCY_MOST = 256
DRAIN_TIMEOUT_SEC = 60.0
SHARE_OF_RAM = 0.75


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one worker."""

    queue_names: tuple[str, ...]
    concurrency: int
    worker_id: str
    poll_interval_sec: float
    burst: bool
    max_idle_sec: float | None
    max_tasks: int | None
    time_limit_sec: float | None
    drain_timeout_sec: float
    memory_gb: float
    cores: int
    max_age_sec: float | None
    max_rss_gb: float | None
    warm: bool
    """Whether a spare child with CASA imported is kept."""
    confine: bool
    """Whether attempts may write into their own directories only, where the kernel can enforce that."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; the names of their values are those of the fields of Options."""
    add = parser.add_argument
    add(
        "--queue-name",
        dest="queue_names",
        action="append",
        type=_queue,
        metavar="NAME",
        help="serve this queue; may be given several times: the most urgent task of all queues goes first",
    )
    add(
        "--concurrency",
        type=whole(1, CONCURRENCY_MOST),
        default=settings.ABSURD_WORKER_CONCURRENCY,
        metavar="N",
        help="attempts at once (default: %(default)s)",
    )
    add(
        "--worker-id",
        type=_label,
        default=f"{platform.node()}-{os.getpid()}",
        metavar="LABEL",
        help="the name shown to operators (default: host and pid)",
    )
    add("--database-url", metavar="URL", help="use this database instead of ABSURD_DATABASE_URL")
    add(
        "--poll-interval",
        dest="poll_interval_sec",
        type=number(0.01),
        default=settings.ABSURD_WORKER_POLL_INTERVAL,
        metavar="SEC",
        help="seconds between polls of an empty queue (default: %(default)g)",
    )
    add("--burst", action="store_true", help="exit when no unfinished task is left")
    idle = "exit after this long without anything to run, whatever others run"
    add("--max-idle", dest="max_idle_sec", type=number(1.0), metavar="SEC", help=idle)
    add("--max-tasks", type=whole(1, 10**9), metavar="N", help="exit after this many attempts")
    limit = (
        "how long it may run: it drains before that ends, and claims nothing whose timeout ends later (default: until "
        "the end of its job that Slurm names, if any)"
    )
    add("--time-limit", dest="time_limit_sec", type=number(1.0), metavar="SEC", help=limit)
    age = "at this age, finish what runs and become a fresh process"
    add("--max-age", dest="max_age_sec", type=number(1.0), metavar="SEC", help=age)
    size = "when the worker itself holds this much memory, finish what runs and become a fresh process"
    add("--max-rss-gb", type=number(0.01), metavar="GB", help=size)
    add(
        "--drain-timeout",
        dest="drain_timeout_sec",
        type=number(0.0),
        default=DRAIN_TIMEOUT_SEC,
        metavar="SEC",
        help="how long attempts may continue after SIGTERM before they are stopped and returned (default: %(default)g)",
    )
    add("--no-warm", dest="warm", action="store_false", help="keep no spare child with CASA imported")
    add(
        "--no-confine",
        dest="confine",
        action="store_false",
        help="let attempts write wherever this account may; by default only into their own directories",
    )
    add(
        "--memory-gb",
        type=number(0.1),
        default=default_memory_gb(),
        metavar="GB",
        help="memory for the tasks of all workers of this host (default: three quarters of what control groups leave)",
    )
    add(
        "--cores",
        type=whole(1, 4096),
        metavar="N",
        help="cores for the tasks of all workers of this host (default: all, but no fewer than --concurrency)",
    )


def from_parsed(parsed: dict[str, Any]) -> Options:
    """Return the options, with the defaults of those that depend on others or on settings."""
    own = {field.name: parsed[field.name] for field in fields(Options)}
    queue_names = tuple(dict.fromkeys(own["queue_names"] or [settings.ABSURD_QUEUE_NAME]))
    cores = own["cores"] or max(own["concurrency"], host_size.cores())
    return Options(**own | {"queue_names": queue_names, "cores": cores})


def default_memory_gb() -> float:
    """Return three quarters of the host's memory, or of what control groups and Slurm leave of it."""
    return SHARE_OF_RAM * host_size.memory_bytes() / 1e9


def _queue(text: str) -> str:
    if fault := validation.fault_of_name(text):
        raise argparse.ArgumentTypeError(f"the queue's name {fault}")
    return text


def _label(text: str) -> str:
    if not text.strip() or len(text) > 200 or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be 1 to 200 printable characters (got {text[:50]!r})")
    return text
