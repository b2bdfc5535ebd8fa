"""Claim only what the host has room for, counted over all its workers."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from django.db import transaction

from tasks_app.engine import registry, reservations
from tasks_app.engine.claim import TIMEOUT_MOST_SEC, Claim, Room, claim_tasks, left_of
from tasks_app.models import Hold, Task, TaskStatus, Worker
from tasks_app.postgresql import statements
from workers.file_system import free_gb

LOCK_SPACE = 0x41425344
"""First key of the two-key advisory locks by which the workers of one host take turns."""
CONSIDER_SEC = 5.0
"""How often it is checked whether a big task has waited too long."""

logger = logging.getLogger(__name__)

_TAKE_TURN = "SELECT pg_advisory_xact_lock(%(space)s::integer, %(host)s::integer)"
_TAKEN = """
SELECT coalesce(sum(memory_gb), 0), coalesce(sum(least(cores, %(host_cores)s::smallint)), 0),
    coalesce(sum(disk_gb), 0), EXISTS (SELECT FROM tasks_app_reservation WHERE host_id = %(host_id)s)
FROM tasks_app_task WHERE status = 'claimed' AND worker_id = ANY(ARRAY(
    SELECT id FROM tasks_app_worker WHERE host_id = %(host_id)s))
"""


class Admission:
    """Decides what a worker may claim now. `root` is where its attempts write.

    `timeout_most_sec` returns the longest timeout that ends before the worker does.
    """

    def __init__(self, root: Path, timeout_most_sec: Callable[[], int] = lambda: TIMEOUT_MOST_SEC) -> None:
        self._root, self._timeout_most_sec = root, timeout_most_sec
        self._consider_at = 0.0

    def claim(self, worker: Worker, *, slots: int, first: Callable[[], None] = lambda: None) -> list[Claim]:
        """Claim up to `slots` tasks whose declared memory, cores and disk find room on the host.

        A task that does not fit beside more urgent ones lets the smaller ones behind it pass, but not for ever: when it
        has waited long, the host keeps room for it. `first` is called before, in the same transaction, such as to store
        outcomes: it takes its locks after the host's turn, in the order of every claim, so that none deadlock.
        """
        with transaction.atomic():
            statements.run(_TAKE_TURN, {"space": LOCK_SPACE, "host": _lock_key(worker.host_id)})
            first()
            room, reserved = self._room(worker)
            kept = reservations.find(worker.host_id) if reserved else None
            claims: list[Claim] = []
            if kept is not None:
                if room.holds(**kept.need):
                    claims = claim_tasks(worker, limit=1, room=room, only=kept.task_pk)
                if claims:
                    reservations.drop(worker.host_id)
                room = room.without(**kept.need)
            others = _fill(worker, room, slots - len(claims))
            if kept is None:
                self._consider(worker, left_of(room, others))
        return claims + others

    def _room(self, worker: Worker) -> tuple[Room, bool]:
        """Return what is free on the host, and whether room is kept for a task."""
        rows = statements.run(_TAKEN, {"host_id": worker.host_id, "host_cores": worker.cores})
        memory_gb, cores, disk_gb, reserved = rows[0]
        room = Room(
            memory_gb=worker.memory_gb - float(memory_gb),
            cores=worker.cores - int(cores),
            disk_gb=free_disk_gb(self._root) - float(disk_gb),
            host_cores=worker.cores,
            timeout_most_sec=self._timeout_most_sec(),
        )
        return room, bool(reserved)

    def _consider(self, worker: Worker, room: Room) -> None:
        if time.monotonic() < self._consider_at:
            return
        self._consider_at = time.monotonic() + CONSIDER_SEC
        task_id = reservations.make(worker, room)
        if task_id is not None:
            logger.info("reserving memory and cores for task=%s, which has waited long for more than is free", task_id)


def _fill(worker: Worker, room: Room, slots: int) -> list[Claim]:
    """Claim round after round: each time only tasks that fit by themselves are candidates."""
    claims: list[Claim] = []
    while len(claims) < slots:
        fresh = claim_tasks(worker, limit=slots - len(claims), room=room)
        claims += fresh
        room = left_of(room, fresh)
        if all(each.memory_gb == each.cores == each.disk_gb == 0 for each in fresh):
            break  # nothing was found, or what was found took no room and so would have been found at once
    return claims


def free_disk_gb(root: Path) -> float:
    """Return the free space where attempts write; boundless when no task name declares that it needs any."""
    return free_gb(root) if registry.most_disk_gb() else float("inf")


def _lock_key(host_id: str) -> int:
    """Return a number for the host that fits a signed 32-bit key."""
    return zlib.crc32(host_id.encode()) - 2**31


def is_exhausted(worker: Worker, *, timeout_most_sec: int = TIMEOUT_MOST_SEC) -> bool:
    """Return whether nothing of the worker's queues is claimed, claimable, or waiting for its next try.

    What waits for a dependency, for its scheduled time or for a paused queue does not count: it may wait for ever. Nor
    does a task whose name this process does not know, for which this host lacked something, or that takes too long.
    """
    tasks = Task.objects.filter(queue_id__in=worker.queues, task_name__in=registry.runnable_names())
    if tasks.filter(status=TaskStatus.CLAIMED).exists():
        return False
    pending = tasks.filter(status=TaskStatus.PENDING, queue__paused_at=None)
    pending = pending.filter(timeout_sec__lte=timeout_most_sec).exclude(unavailable_on__has_key=worker.host_id)
    return not pending.filter(hold=0).exists() and not pending.filter(hold=Hold.FUTURE, retry_count__gt=0).exists()
