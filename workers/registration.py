"""The worker's row: a new one for each start, so that a restart never hides a dead predecessor."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from tasks_app import log_writer
from tasks_app.engine import fail, registry
from tasks_app.engine.events import Change, announce
from tasks_app.models import Worker
from tasks_app.monitoring.workers import event_detail, recent
from tasks_app.postgresql import clock
from tasks_app.version import running
from workers.allocation import job_id
from workers.file_system import free_gb
from workers.host_size import HostUse
from workers.options import Options
from workers.worker_thread import Timer

CLOCK_SKEW_WARNING_SEC = 2.0
DROPPED_LINES_EVENT_SEC = 600.0

_HEARTBEAT = """
UPDATE tasks_app_worker
SET heartbeat_at = now(), rss_bytes = %(rss_bytes)s, disk_gb = %(disk_gb)s,
    host_memory_bytes = %(host_memory_bytes)s, host_free_bytes = %(host_free_bytes)s,
    host_cpu_busy = coalesce(%(host_cpu_busy)s, host_cpu_busy),
    clock_skew_sec = round((%(sent_at)s::float8 - extract(epoch FROM statement_timestamp()))::numeric, 3),
    missing_roots = %(missing_roots)s::jsonb, files_address = %(files_address)s,
    stop_signal_at = coalesce(stop_signal_at, CASE WHEN %(stop_signalled)s THEN now() END)
WHERE id = %(id)s
RETURNING ordered, draining, clock_skew_sec
"""

logger = logging.getLogger(__name__)


@cache
def host_id() -> str:
    """Return what all workers of one host and boot share, and no others; each job of a batch system is a host."""
    parts = [platform.node(), *filter(None, [job_id()])]
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            parts.append(Path(path).read_text().strip())
        except OSError:
            continue
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def new_worker(options: Options, drains_at: datetime | None) -> Worker:
    """Return the unsaved row of this worker."""
    return Worker(
        label=options.worker_id,
        host=platform.node(),
        host_id=host_id(),
        pid=os.getpid(),
        version=running()[:50],
        queues=list(options.queue_names),
        task_names=registry.runnable_names(),
        data_roots=[str(root) for root in settings.ABSURD_DATA_ROOTS],
        concurrency=options.concurrency,
        memory_gb=options.memory_gb,
        cores=options.cores,
        heartbeat_sec=settings.ABSURD_HEARTBEAT_SEC,
        drains_at=drains_at,
    )


class Registration:
    """Registers the worker, sends its heartbeats, and reads the requests of operators."""

    def __init__(self, options: Options, root: Path, *, drains_at: datetime | None) -> None:
        self.worker = new_worker(options, drains_at)
        self.ordered = ""
        """What an operator requested last: a value of WorkerOrder, or nothing."""
        self.other_roots: tuple[str, ...] = ()
        """Data roots that workers of other hosts have and this host has not."""
        self.registered = False
        """Whether the row of this worker has been committed."""
        self.disk_gb = free_gb(root)
        """Free space where it writes, as another thread saw it last."""
        self._process = psutil.Process()
        self._host = HostUse()
        self._skew_warned = False
        self._dropped_lines = 0
        self._dropped_lines_events = Timer(DROPPED_LINES_EVENT_SEC)

    @property
    def rss_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def heartbeat(self, *, ending: bool, missing_roots: Sequence[str] = (), stop_signalled: bool = False) -> None:
        """Report; register first where the database does not know this worker, or not any more.

        `missing_roots` are the data roots that this host does not see.
        """
        had_missing, self.worker.missing_roots = self.worker.missing_roots, list(missing_roots)
        if not self._store(ending=ending, stop_signalled=stop_signalled):
            with transaction.atomic():
                self.worker.save(force_insert=True)
                self._announce("worker_registered")
                fail.forget_unavailable(self.worker.host_id)
            logger.info("worker %s is registered as %s", self.worker.label, self.worker.pk)
            self._store(ending=ending, stop_signalled=stop_signalled)
        self._read_other_roots()
        if had_missing and not missing_roots:
            fail.forget_unavailable(self.worker.host_id)
        self._report_dropped_lines()

    def _read_other_roots(self) -> None:
        others = recent(clock.now()).exclude(host_id=self.worker.host_id).order_by().distinct()
        named = {root for roots in others.values_list("data_roots", flat=True) for root in roots}
        self.other_roots = tuple(sorted(named - set(self.worker.data_roots)))

    def read_order(self) -> None:
        found = Worker.objects.filter(pk=self.worker.pk).values_list("ordered", flat=True).first()
        self._set_order(found or "")

    def stop(self) -> None:
        with transaction.atomic():
            if Worker.objects.filter(pk=self.worker.pk, stopped_at=None).update(stopped_at=Now()):
                self._announce("worker_stopped")

    def _store(self, *, ending: bool, stop_signalled: bool) -> bool:
        """Store the heartbeat with what was measured; return whether there is a row to store it in."""
        values: dict[str, Any] = {
            "id": self.worker.pk,
            "rss_bytes": self.rss_bytes,
            "disk_gb": self.disk_gb,
            **self._host.measure(),
            "sent_at": time.time(),
            "missing_roots": json.dumps(self.worker.missing_roots),
            "files_address": self.worker.files_address,
            "stop_signalled": stop_signalled,
        }
        with connection.cursor() as cursor:
            cursor.execute(_HEARTBEAT, values)
            row = cursor.fetchone()
        if row is None:
            return False
        ordered, draining, skew_sec = row
        if abs(skew_sec) > CLOCK_SKEW_WARNING_SEC and not self._skew_warned:
            self._skew_warned = True
            logger.warning("the clock of this host is %.1f s off the database's: set it by NTP", skew_sec)
        self._set_order(ordered)
        if ending and not draining:
            self.worker.draining = True
            with transaction.atomic():
                Worker.objects.filter(pk=self.worker.pk).update(draining=True)
                self._announce("worker_draining")
        return True

    def _report_dropped_lines(self) -> None:
        """Write an event when log lines were dropped because they were not read fast enough: the log cannot show it."""
        dropped = log_writer.dropped_lines()
        if dropped > self._dropped_lines and self._dropped_lines_events.due():
            lines, self._dropped_lines = dropped - self._dropped_lines, dropped
            with transaction.atomic():
                self._announce(
                    "worker_log_dropped", reason=f"{lines} log lines were dropped: its log is not read fast enough"
                )

    def _set_order(self, ordered: str) -> None:
        if ordered != self.ordered:
            self.ordered = self.worker.ordered = ordered
            logger.info("worker %s: an operator requested %s", self.worker.label, ordered or "resume")

    def _announce(self, event_type: str, reason: str = "") -> None:
        detail = {"worker": event_detail(self.worker)}
        announce(Change(event_type=event_type, actor=f"worker:{self.worker.label}", reason=reason, detail=detail))
