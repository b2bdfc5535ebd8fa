"""The command line of `absurd_pilots`."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from django.conf import settings

from tasks_app import validation
from tasks_app.management.arguments import number, whole
from tasks_app.management.shell import refuse
from workers.allocation import LEAVE_SEC
from workers.options import CONCURRENCY_MOST, SHARE_OF_RAM

EXECUTORS = ("slurm", "pbs", "pbs_classic", "lsf", "flux", "local")
START_SEC = 30.0
"""What a pilot's worker may take from the start of its job until it claims."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What pilots are submitted, how many, and when."""

    name: str
    executor: str
    queue_names: tuple[str, ...]
    least: int
    most: int
    concurrency: int
    cores: int | None
    memory_gb: float | None
    time_limit_sec: float
    drain_timeout_sec: float
    max_idle_sec: float
    wait_sec: float
    tasks_per_pilot: int
    poll_sec: float
    partition: str | None
    account: str | None
    attributes: dict[str, str]
    directory: Path
    cancel: bool

    @property
    def timeout_most_sec(self) -> int:
        """The longest timeout that fits into a pilot."""
        return int(self.time_limit_sec - START_SEC - self.drain_timeout_sec - LEAVE_SEC)

    @property
    def task_memory_gb(self) -> float:
        """The memory that a pilot gives to tasks; boundless where the batch system decides."""
        return float("inf") if self.memory_gb is None else SHARE_OF_RAM * self.memory_gb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; the names of their values are those of the fields of Options."""
    add = parser.add_argument
    add("--executor", choices=EXECUTORS, default="slurm", help="the batch system (default: %(default)s)")
    add("--name", type=_name, default="pilot", help="name of these pilots and of their jobs (default: %(default)s)")
    add("--queue-name", dest="queue_names", action="append", type=_name, metavar="NAME", help="serve this queue")
    add("--min", dest="least", type=whole(0, 1000), default=0, metavar="N", help="pilots that stay without work")
    add("--max", dest="most", type=whole(1, 1000), default=4, metavar="N", help="pilots at most (default: %(default)s)")
    slots = whole(1, CONCURRENCY_MOST)
    add("--concurrency", type=slots, default=1, metavar="N", help="attempts at once in a pilot (default: %(default)s)")
    add("--cores", type=whole(1, 4096), metavar="N", help="cores of a pilot (default: --concurrency)")
    add("--memory-gb", type=number(0.1), metavar="GB", help="memory of a pilot (default: the batch system's)")
    limit = "time limit of a pilot's job; tasks whose timeout does not fit are not for pilots (default: %(default)g)"
    add("--time-limit", dest="time_limit_sec", type=number(1), default=14_400.0, metavar="SEC", help=limit)
    drain = "how long attempts may continue after SIGTERM: less than the batch system waits before SIGKILL"
    add("--drain-timeout", dest="drain_timeout_sec", type=number(0), default=15.0, metavar="SEC", help=drain)
    idle = "a pilot ends after this long without a task (default: %(default)g)"
    add("--max-idle", dest="max_idle_sec", type=number(1), default=120.0, metavar="SEC", help=idle)
    wait = "pilots are submitted for tasks that no worker has claimed for this long (default: %(default)g)"
    add("--wait", dest="wait_sec", type=number(0), default=30.0, metavar="SEC", help=wait)
    per = "one pilot for this many waiting tasks (default: --concurrency)"
    add("--tasks-per-pilot", type=whole(1, 10_000), metavar="N", help=per)
    poll = "seconds between looks (default: %(default)g)"
    add("--poll-interval", dest="poll_sec", type=number(0.1), default=15.0, metavar="SEC", help=poll)
    add("--partition", type=_word, metavar="NAME", help="the batch system's queue or partition")
    add("--account", type=_word, metavar="NAME", help="the account or project that pays")
    more = "an option of the batch system, as in slurm.qos=high; may be given several times"
    add("--attribute", dest="attributes", action="append", type=_attribute, default=[], metavar="KEY=VALUE", help=more)
    where = "scripts and logs of pilots; on a file system that all nodes share (default: %(default)s)"
    add("--directory", type=Path, default=settings.ABSURD_VAR / "pilots", metavar="DIR", help=where)
    add("--cancel", action="store_true", help="cancel the pilots when this command is stopped")


def from_parsed(parsed: dict[str, Any]) -> Options:
    """Return the options, with the defaults of those that depend on others or on settings. Refuses what cannot be."""
    own = {field.name: parsed[field.name] for field in fields(Options)}
    own["queue_names"] = tuple(dict.fromkeys(own["queue_names"] or [settings.ABSURD_QUEUE_NAME]))
    own["tasks_per_pilot"] = own["tasks_per_pilot"] or own["concurrency"]
    own["attributes"] = dict(own["attributes"])
    own["directory"] = own["directory"].absolute()
    options = Options(**own)
    if options.least > options.most:
        refuse(f"--min must not exceed --max (got {options.least} and {options.most})")
    if options.timeout_most_sec < 1:
        least_sec = options.time_limit_sec - options.timeout_most_sec
        refuse(f"--time-limit leaves no time for tasks: it must exceed {least_sec:g}")
    if not re.fullmatch(r"[\w@%+=:,./-]+", str(options.directory)):
        refuse(f"--directory must have no spaces or other special characters (got {options.directory})")
    return options


def _name(text: str) -> str:
    if fault := validation.fault_of_name(text):
        raise argparse.ArgumentTypeError(f"the name {fault}")
    return text


def _word(text: str) -> str:
    if not re.fullmatch(r"[\w@%+=:,./-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"write letters, digits and @%+=:,./_- (got {text[:50]!r})")
    return text


def _attribute(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or "." not in key:
        raise argparse.ArgumentTypeError(f"write EXECUTOR.KEY=VALUE, as in slurm.qos=high (got {text[:50]!r})")
    return _word(key), _word(value)
