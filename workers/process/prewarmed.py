"""One warm spare a worker: a guarded child that has imported what attempts need, while there was time for it.

It is used once, for a task name that asks for the same module and the same number of cores: what OpenMP and numpy may
use is settled when they are loaded. It stands in no table and counts as no attempt. A spare that dies is replaced, and
an attempt that was given to one that died before it began is started cold.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db.models import Q

from tasks_app.engine import registry
from tasks_app.models import Task
from tasks_app.postgresql.clock import DatabaseNow
from workers import host_size
from workers.process import protocol
from workers.process.handle import ChildHandle

IDLE_SEC = 600.0
"""A spare that was not needed for this long is ended, until the next attempt shows that there is work again."""
FREE_BYTES_LEAST = 2_000_000_000
TRY_AGAIN_SEC = 60.0
NEWEST = 1000
OUTPUT_TAIL_BYTES = 2000

logger = logging.getLogger(__name__)


class Kind(NamedTuple):
    """Which attempts can use a spare."""

    module: str
    cores: int


class Spare:
    """A child that imports, or waits."""

    def __init__(self, kind: Kind) -> None:
        mark = str(uuid.uuid4())
        scratch = directory() / mark
        scratch.mkdir(parents=True)
        self.kind = kind
        self.started_at = time.monotonic()
        self.ready = False
        self._log_fd = os.memfd_create("spare-log")
        self.handle = ChildHandle(
            mark=mark,
            cores=kind.cores,
            scratch=scratch,
            log_path=scratch / "casa.log",
            log_fd=self._log_fd,
            warm=kind.module,
        )

    def is_alive(self) -> bool:
        """Return whether it lives, and note whether it is ready."""
        with contextlib.suppress(ValueError):
            for line in self.handle.replies.read():
                message = protocol.decode(line)
                if isinstance(message, protocol.Ready):
                    self.ready = True
                    after_sec = time.monotonic() - self.started_at
                    logger.info(
                        "warm spare is ready pid=%d module=%s after_sec=%.1f", message.pid, self.kind.module, after_sec
                    )
        return not self.handle.replies.at_end and self.handle.guardian.poll() is None

    def close_log(self) -> None:
        os.close(self._log_fd)

    def output_tail(self) -> str:
        start = max(0, os.fstat(self._log_fd).st_size - OUTPUT_TAIL_BYTES)
        return os.pread(self._log_fd, OUTPUT_TAIL_BYTES, start).decode(errors="replace").strip()


class SparePool:
    """Keeps one spare of the kind that was requested last."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._wanted: Kind | None = None
        self._spare: Spare | None = None
        self._not_before = 0.0

    def take(self, kind: Kind) -> ChildHandle | None:
        """Return the spare if it is ready and of this kind, and want another one."""
        if not self._enabled:
            return None
        self._wanted = kind
        spare = self._spare
        if spare is None or spare.kind != kind or not spare.is_alive() or not spare.ready:
            return None
        self._spare = None
        spare.close_log()
        return spare.handle

    def expect(self, kind: Kind | None) -> None:
        """Prepare a spare of this kind before an attempt asks for one."""
        self._wanted = self._wanted or kind

    def maintain(self, *, wanted: bool) -> None:
        """Start, replace or end the spare, as it is needed; none is needed while the worker drains."""
        spare = self._spare
        if spare is not None and not spare.is_alive():
            logger.warning("the warm spare ended unexpectedly: %s", spare.output_tail())
            self._end()
            self._not_before = time.monotonic() + TRY_AGAIN_SEC
        elif spare is not None and time.monotonic() - spare.started_at > IDLE_SEC:
            self._wanted = None
        if self._spare is not None and (not wanted or self._spare.kind != self._wanted):
            self._end()
        if self._spare is None and wanted and self._wanted is not None and self._may_start():
            try:
                self._spare = Spare(self._wanted)
            except OSError as error:
                logger.warning("no warm spare could be started: %s", error)
                self._not_before = time.monotonic() + TRY_AGAIN_SEC

    def close(self) -> None:
        """End the spare, and start no other."""
        self._enabled = False
        self._end()

    def _may_start(self) -> bool:
        if not self._enabled or time.monotonic() < self._not_before:
            return False
        return host_size.free_bytes() > FREE_BYTES_LEAST

    def _end(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.handle.close()
            spare.close_log()


def directory() -> Path:
    """Return where spares have their scratch directories."""
    return Path(settings.ABSURD_VAR) / "spares"


def sweep() -> list[Path]:
    """Remove what is left of spares whose guardian was killed: each guardian holds a lock on its directory."""
    removed = []
    for scratch in directory().glob("*-*"):
        with contextlib.suppress(OSError):
            fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - scratch.stat().st_mtime > TRY_AGAIN_SEC:
                    shutil.rmtree(scratch, ignore_errors=True)
                    removed.append(scratch)
            finally:
                os.close(fd)
    return removed


def kind_used_last(queue_names: Sequence[str]) -> Kind | None:
    """Return the kind of spare that fits the newest task of these queues that is open or ended while a spare may idle.

    None where none of the newest tasks can use a spare.
    """
    newest = Task.objects.filter(queue_id__in=queue_names).order_by("-id")[:NEWEST]
    recent = Q(completed_at__isnull=True) | Q(completed_at__gt=DatabaseNow() - timedelta(seconds=IDLE_SEC))
    tasks = Task.objects.filter(recent, pk__in=newest.values("pk")).order_by("-id")
    for task_name, cores in tasks.values_list("task_name", "cores"):
        spec = registry.find(task_name)
        if spec is not None and spec.warm is not None:
            return Kind(module=spec.warm, cores=cores)
    return None
