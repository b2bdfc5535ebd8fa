"""Claim only what the host has memory for, counted over all its workers."""

from __future__ import annotations

import zlib
from pathlib import Path

import psutil
from django.db import transaction

from tasks_app import claiming, statements
from tasks_app.claiming import Claim
from tasks_app.models import Worker

LOCK_SPACE = 0x41425344
"""First key of the two-key advisory locks by which the workers of one host take turns."""
SHARE_OF_RAM = 0.75
_TAKE_TURN = "SELECT pg_advisory_xact_lock(%(space)s::integer, %(host)s::integer)"


def default_memory_gb() -> float:
    """Return three quarters of the host's memory, or of the control group's limit where that is smaller."""
    total_bytes = psutil.virtual_memory().total
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            total_bytes = min(total_bytes, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return SHARE_OF_RAM * total_bytes / 1e9


def fitting_classes(free_gb: float, total_gb: float) -> list[int]:
    """Return the memory classes n, tasks of up to 2**n GB, that may be claimed now.

    The smallest class is always open, for what needs next to nothing. On an empty host the class that the whole share
    lies within is open too: it holds tasks that do fit.
    """
    empty = free_gb >= total_gb
    return [n for n in claiming.MEMORY_CLASSES if n == 0 or 2**n <= free_gb or (empty and 2 ** (n - 1) < total_gb)]


def claim(worker: Worker, *, slots: int) -> list[Claim]:
    """Claim up to `slots` tasks whose declared memory together fits what is free of the host's share.

    A task that does not fit beside more urgent ones lets the smaller ones behind it pass.
    """
    claims: list[Claim] = []
    with transaction.atomic():
        statements.run(_TAKE_TURN, {"space": LOCK_SPACE, "host": _key(worker.host_id)})
        free_gb = worker.memory_gb - _claimed_gb(worker.host_id)
        while len(claims) < slots:
            classes = fitting_classes(free_gb, worker.memory_gb)
            fresh = claiming.claim(worker, limit=slots - len(claims), memory_classes=classes, free_gb=free_gb)
            if not fresh:
                break
            claims += fresh
            free_gb -= sum(each.memory_gb for each in fresh)
            if sum(each.memory_gb for each in fresh) == 0:
                break
    return claims


_CLAIMED_GB = """
SELECT coalesce(sum(memory_gb), 0) FROM tasks_app_task WHERE status = 'claimed' AND worker_id = ANY(ARRAY(
    SELECT id FROM tasks_app_worker WHERE host_id = %(host_id)s))
"""


def _claimed_gb(host_id: str) -> float:
    return float(statements.run(_CLAIMED_GB, {"host_id": host_id})[0][0])


def _key(host_id: str) -> int:
    """Return a number for the host that fits a signed 32-bit key."""
    return zlib.crc32(host_id.encode()) - 2**31
