"""The worker's row: that it is there, how it is, and what it has been ordered to do."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from django.db import connection, transaction
from django.db.models.functions import Now

from tasks_app import log_writer
from tasks_app.engine import unavailability
from tasks_app.engine.events import Change, announce
from tasks_app.models import Worker
from tasks_app.monitoring.workers import event_detail
from workers import admission
from workers.timer import Timer

SKEW_WORTH_A_WARNING_SEC = 2.0
DROPPED_EVENT_SEC = 600.0

_BEAT = """
UPDATE tasks_app_worker
SET heartbeat_at = now(), rss_bytes = %(rss_bytes)s, disk_gb = %(disk_gb)s, clock_skew_sec = %(clock_skew_sec)s,
    missing_roots = %(missing_roots)s::jsonb,
    stop_signal_at = coalesce(stop_signal_at, CASE WHEN %(stop_signalled)s THEN now() END)
WHERE id = %(id)s
RETURNING ordered, draining, extract(epoch FROM clock_timestamp())::float8
"""

logger = logging.getLogger(__name__)


class Presence:
    """Registers the worker, reports for it, and reads its orders."""

    def __init__(self, worker: Worker, root: Path) -> None:
        self.worker = worker
        self.ordered = ""
        self.registered = False
        """Whether the database has known this worker."""
        self.disk_gb = admission.free_gb(root)
        """Free space where it writes, as another thread saw it last."""
        self._process = psutil.Process()
        self._skew_warned = False
        self._stop_signalled = False
        self._dropped_lines = 0
        self._dropped_events = Timer(DROPPED_EVENT_SEC)

    @property
    def rss_bytes(self) -> int:
        """The memory that this process holds now."""
        return int(self._process.memory_info().rss)

    def beat(self, *, ending: bool, missing_roots: Sequence[str] = (), stop_signalled: bool = False) -> None:
        """Report; register first where the database does not know this worker, or not any more.

        `missing_roots` are the data roots that this host does not see.
        """
        had_missing, self.worker.missing_roots = self.worker.missing_roots, list(missing_roots)
        self._stop_signalled = stop_signalled
        if not self._report(ending=ending):
            self._register()
            self._report(ending=ending)
        self.registered = True
        if had_missing and not missing_roots:
            unavailability.forget(self.worker.host_id)
        self._report_dropped_lines()

    def look(self) -> None:
        """Read the orders again."""
        found = Worker.objects.filter(pk=self.worker.pk).values_list("ordered", flat=True).first()
        self._obey(found or "")

    def leave(self) -> None:
        """Say that it has ended."""
        with transaction.atomic():
            if Worker.objects.filter(pk=self.worker.pk, stopped_at=None).update(stopped_at=Now()):
                self._announce("worker_stopped")

    def _register(self) -> None:
        with transaction.atomic():
            self.worker.save(force_insert=True)
            self._announce("worker_registered")
            unavailability.forget(self.worker.host_id)
        logger.info("worker %s is registered as %s", self.worker.label, self.worker.pk)

    def _report(self, *, ending: bool) -> bool:
        """Store the heartbeat with what was measured; return whether there is a row to store it in."""
        values: dict[str, Any] = {
            "id": self.worker.pk,
            "rss_bytes": self.rss_bytes,
            "disk_gb": self.disk_gb,
            "clock_skew_sec": self.worker.clock_skew_sec,
            "missing_roots": json.dumps(self.worker.missing_roots),
            "stop_signalled": self._stop_signalled,
        }
        before = time.time()
        with connection.cursor() as cursor:
            cursor.execute(_BEAT, values)
            row = cursor.fetchone()
        if row is None:
            return False
        ordered, draining, database_sec = row
        self._measure_skew((before + time.time()) / 2 - database_sec)
        self._obey(ordered)
        if ending and not draining:
            self._tell_ending()
        return True

    def _measure_skew(self, skew_sec: float) -> None:
        """Keep the difference of the clocks, to be stored with the next report; leases never depend on it."""
        first, self.worker.clock_skew_sec = self.worker.clock_skew_sec is None, round(skew_sec, 3)
        if first:
            Worker.objects.filter(pk=self.worker.pk).update(clock_skew_sec=self.worker.clock_skew_sec)
        if abs(skew_sec) > SKEW_WORTH_A_WARNING_SEC and not self._skew_warned:
            self._skew_warned = True
            logger.warning("the clock of this host is %.1f s off the database's: set it by NTP", skew_sec)

    def _tell_ending(self) -> None:
        self.worker.draining = True
        with transaction.atomic():
            Worker.objects.filter(pk=self.worker.pk).update(draining=True)
            self._announce("worker_draining")

    def _report_dropped_lines(self) -> None:
        """Write an event when log lines were dropped because nobody read them: the log itself cannot say it."""
        dropped = log_writer.dropped_lines()
        if dropped > self._dropped_lines and self._dropped_events.due():
            lines, self._dropped_lines = dropped - self._dropped_lines, dropped
            with transaction.atomic():
                self._announce("worker_log_dropped", reason=f"{lines} log lines were dropped: nobody reads its log")

    def _obey(self, ordered: str) -> None:
        if ordered != self.ordered:
            self.ordered = self.worker.ordered = ordered
            logger.info("worker %s is ordered to %s", self.worker.label, ordered or "resume")

    def _announce(self, event_type: str, reason: str = "") -> None:
        detail = {"worker": event_detail(self.worker)}
        announce(Change(event_type=event_type, actor=f"worker:{self.worker.label}", reason=reason, detail=detail))
