"""What `runworker` can be told, with the settings as defaults."""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass

from django.conf import settings

from tasks_app.engine import names
from tasks_app.management.arguments import number, whole
from workers import admission

CONCURRENCY_MOST = 256
DRAIN_TIMEOUT_SEC = 60.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one worker."""

    weights: dict[str, int]
    """The queues that are served, each with its share of the claims."""
    concurrency: int
    worker_id: str
    poll_interval_sec: float
    burst: bool
    max_tasks: int | None
    drain_timeout_sec: float
    memory_gb: float
    cores: int
    max_age_sec: float | None
    max_rss_gb: float | None
    warm: bool = True
    """Whether a spare child with CASA imported is kept."""
    confine: bool = True
    """Whether attempts may write into their own directories only, where the kernel can see to that."""

    @property
    def queue_names(self) -> tuple[str, ...]:
        """The queues that are served."""
        return tuple(self.weights)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "--queue-name",
        action="append",
        type=_weighted_queue,
        metavar="NAME[=WEIGHT]",
        help="serve this queue; may be given several times. Without weights the most urgent task of all queues goes "
        "first; with them claims are divided in proportion, and what one queue does not use goes to the others",
    )
    add("--concurrency", type=whole(1, CONCURRENCY_MOST), metavar="N", help="attempts at once")
    add("--worker-id", type=_label, metavar="LABEL", help="the name shown to operators (default: host and pid)")
    add("--database-url", metavar="URL", help="use this database instead of ABSURD_DATABASE_URL")
    add("--poll-interval", type=number(0.01), metavar="SEC", help="seconds between looks into an empty queue")
    add("--burst", action="store_true", help="exit when nothing is left to do")
    add("--max-tasks", type=whole(1, 10**9), metavar="N", help="exit after so many attempts")
    add("--max-age", type=number(1.0), metavar="SEC", help="after so long, finish what runs and start anew")
    add(
        "--max-rss-gb",
        type=number(0.01),
        metavar="GB",
        help="when the worker itself holds so much memory, finish what runs and start anew",
    )
    add(
        "--drain-timeout",
        type=number(0.0),
        default=DRAIN_TIMEOUT_SEC,
        metavar="SEC",
        help="how long attempts may go on after SIGTERM before they are stopped and returned (default: %(default)g)",
    )
    add("--no-warm", dest="warm", action="store_false", help="keep no spare child with CASA imported")
    add(
        "--no-confine",
        dest="confine",
        action="store_false",
        help="let attempts write wherever this account may; by default they may write into their own directories only",
    )
    add(
        "--memory-gb",
        type=number(0.1),
        metavar="GB",
        help="memory for the tasks of all workers of this host (default: three quarters of what control groups leave)",
    )
    add(
        "--cores",
        type=whole(1, 4096),
        metavar="N",
        help="cores for the tasks of all workers of this host (default: all, but no fewer than --concurrency)",
    )


def from_parsed(parsed: dict[str, object]) -> Options:
    """Return the options, with the settings in place of what was not given."""

    def given(name: str, default: object) -> object:
        value = parsed.get(name)
        return default if value is None else value

    queues: list[tuple[str, int]] = parsed.get("queue_name") or [(settings.ABSURD_QUEUE_NAME, 1)]  # type: ignore[assignment]
    concurrency = given("concurrency", settings.ABSURD_WORKER_CONCURRENCY)
    values = {
        "weights": dict(queues),
        "concurrency": concurrency,
        "worker_id": given("worker_id", f"{platform.node()}-{os.getpid()}"),
        "poll_interval_sec": given("poll_interval", settings.ABSURD_WORKER_POLL_INTERVAL),
        "burst": bool(parsed.get("burst")),
        "max_tasks": parsed.get("max_tasks"),
        "drain_timeout_sec": given("drain_timeout", DRAIN_TIMEOUT_SEC),
        "warm": bool(given("warm", True)),
        "confine": bool(given("confine", True)),
        "memory_gb": given("memory_gb", admission.default_memory_gb()),
        "cores": given("cores", admission.default_cores(concurrency)),  # type: ignore[arg-type]
        "max_age_sec": parsed.get("max_age"),
        "max_rss_gb": parsed.get("max_rss_gb"),
    }
    return Options(**values)  # type: ignore[arg-type]


def _weighted_queue(text: str) -> tuple[str, int]:
    name, _, weight = text.rpartition("=")
    if not name or not weight.isascii() or not weight.isdigit():
        name, weight = text, "1"
    if fault := names.fault_of_name(name):
        raise argparse.ArgumentTypeError(f"the queue's name {fault}")
    if not 1 <= int(weight) <= 1000:
        raise argparse.ArgumentTypeError(f"write a queue's name, or NAME=WEIGHT with a weight from 1 to 1000: {text!r}")
    return name, int(weight)


def _label(text: str) -> str:
    if not text.strip() or len(text) > 200 or not text.isprintable():
        raise argparse.ArgumentTypeError("write 1 to 200 printable characters")
    return text
