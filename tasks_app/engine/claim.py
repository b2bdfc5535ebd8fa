"""The claim: one statement over a batch of tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app import cleaning
from tasks_app.engine import limits, notify, registry
from tasks_app.engine.bindings import bind, results_of
from tasks_app.models import Worker
from tasks_app.postgresql import statements

CORES_MOST = 32_767
"""More than any host has, and the largest that a task's column holds."""
TIMEOUT_MOST_SEC = 2**31 - 1
"""Longer than any timeout, and the largest that a task's column holds."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory, cores, disk and time; without arguments, boundless."""

    memory_gb: float = math.inf
    cores: int = CORES_MOST
    disk_gb: float = math.inf
    host_cores: int = CORES_MOST
    """All cores of the host that tasks may have: a task that declares more is content with these."""
    timeout_most_sec: int = TIMEOUT_MOST_SEC
    """The longest timeout that ends before the worker does."""

    @property
    def free_cores(self) -> int:
        """Cores that are left; none, where workers with more cores have claimed more than this one may use."""
        return max(0, self.cores)

    def without(self, *, memory_gb: float, cores: int, disk_gb: float) -> Room:
        """Return what is left after a task that needs so much."""
        return replace(
            self,
            memory_gb=self.memory_gb - memory_gb,
            cores=self.cores - min(cores, self.host_cores),
            disk_gb=self.disk_gb - disk_gb,
        )

    def columns(self) -> dict[str, Any]:
        """The room as the claim's parameters."""
        return {
            "free_gb": self.memory_gb,
            "free_cores": self.free_cores,
            "most_cores": CORES_MOST if self.cores >= self.host_cores else self.free_cores,
            "host_cores": self.host_cores,
            "free_disk_gb": self.disk_gb,
            "timeout_most_sec": self.timeout_most_sec,
        }

    def holds(self, *, memory_gb: float, cores: int, disk_gb: float) -> bool:
        """Whether a task that needs so much finds room."""
        has_cores = min(cores, self.host_cores) <= self.free_cores
        return has_cores and memory_gb <= self.memory_gb and disk_gb <= self.disk_gb


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A task in a worker's hands, with all that its attempt needs."""

    task_id: UUID
    claim_token: UUID
    attempt: int
    task_name: str
    queue_name: str
    params: dict[str, Any]
    timeout_sec: int
    lease_sec: int
    memory_gb: float
    cores: int
    worker_label: str
    idle_timeout_sec: int | None = None
    disk_gb: float = 0.0
    run_id: UUID | None = None
    runnable_at: datetime | None = None
    claimed_at: datetime | None = None
    traceparent: str = ""
    """The span of its spawn, where spans are recorded; see tasks_app.tracing."""

    @property
    def actor(self) -> str:
        """How events name the worker."""
        return f"worker:{self.worker_label}"


_COLUMNS = tuple(
    each.name
    for each in fields(Claim)
    if each.name not in ("params", "attempt", "timeout_sec", "run_id", "worker_label")
)
"""What a claim takes from its task's row as it is."""
CLAIM = Path(__file__).parent / "sql" / "claim.sql"


def claim_tasks(
    worker: Worker,
    *,
    limit: int,
    room: Room = Room(),
    only: int | None = None,
) -> list[Claim]:
    """Claim up to `limit` tasks that find room, from the worker's queues, most urgent first.

    Only task names that are registered in this process are claimed; `only` is the row of the one task that may be.
    """
    params = {
        "queues": list(worker.queues),
        "task_names": registry.runnable_names(),
        "worker": worker.pk,
        "label": worker.label,
        "host_id": worker.host_id,
        "ids": None if only is None else [only],
        "slotted": False,
    }
    claims: list[Claim] = []
    while limit > len(claims):
        fresh, limited = _claim(params, limit - len(claims), room, worker)
        claims += fresh
        room = left_of(room, fresh)
        if not limited:
            break
        fresh, is_full = _claim_limited(params, limited, room, worker)
        claims += fresh
        room = left_of(room, fresh)
        # Of what a full limit turned away another may have a free slot of the other limit that it stands under.
        if not is_full or not (limits.admit() or fresh):
            break
    return claims


def _claim(params: Mapping[str, Any], limit: int, room: Room, worker: Worker) -> tuple[list[Claim], list[int]]:
    """Claim by one statement; return the claims, or the rows of a batch in which anything needs a slot."""
    statement = statements.load(CLAIM, limit=limit, columns=_COLUMNS)
    rows = statements.run(statement, {**params, **room.columns()})
    claimed = [row[1:] for row in rows if row[1] is not None]
    if claimed:
        transaction.on_commit(notify.publisher.announce)
    return _claims_of(claimed, worker.label), rows[0][0]


def _claim_limited(
    params: Mapping[str, Any], limited: Sequence[int], room: Room, worker: Worker
) -> tuple[list[Claim], bool]:
    """Claim those of the tasks that find free slots, and park the others; return the claims and whether any was."""
    with transaction.atomic():
        granted, is_full = limits.take_slots(limited)
        if not granted:
            return [], is_full
        ids = {**params, "ids": list(granted), "slotted": True}
        claims, _ = _claim(ids, len(granted), room, worker)
        if unused := set(granted.values()) - {each.task_id for each in claims}:
            limits.free(unused)
    return claims, is_full


def left_of(room: Room, claims: Iterable[Claim]) -> Room:
    """Return what the claimed tasks leave of a room."""
    for each in claims:
        room = room.without(memory_gb=each.memory_gb, cores=each.cores, disk_gb=each.disk_gb)
    return room


def _claims_of(rows: Sequence[tuple[Any, ...]], label: str) -> list[Claim]:
    bindings = {number: cleaning.loads(row[1]) for number, row in enumerate(rows) if row[1] != "{}"}
    results = results_of(bindings.values())
    return [
        Claim(
            params=bind(cleaning.loads(row[0]), bindings.get(number, {}), results),
            attempt=row[2],
            timeout_sec=row[3],
            run_id=row[4],
            worker_label=label,
            **dict(zip(_COLUMNS, row[5:], strict=True)),
        )
        for number, row in enumerate(rows)
    ]
