"""Room kept free for a big task that smaller ones would pass over for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tasks_app.engine import registry
from tasks_app.engine.claim import Room
from tasks_app.models import Reservation, Worker
from tasks_app.models.worker import LIVE_SQL
from tasks_app.postgresql import statements

RESERVE_AFTER_SEC = 60
"""A claimable task that has waited so long while others were claimed gets room of its own."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The task that this host waits for room for."""

    task_pk: int
    task_id: UUID
    memory_gb: float
    cores: int
    disk_gb: float

    @property
    def need(self) -> dict[str, Any]:
        """What it needs, as a room is asked."""
        return {"memory_gb": self.memory_gb, "cores": self.cores, "disk_gb": self.disk_gb}


# A task that became unclaimable, or that no worker of the host may claim any more, keeps nothing.
WANTED = f"""
SELECT kept.host_id, task.id, task.task_id, task.memory_gb, task.cores, task.disk_gb
FROM tasks_app_reservation AS kept
JOIN tasks_app_task AS task ON task.task_id = kept.task_id
JOIN tasks_app_queue AS queue ON queue.name = task.queue_name
WHERE task.status = 'pending' AND task.hold = 0 AND queue.paused_at IS NULL AND EXISTS (
    SELECT FROM tasks_app_worker AS worker
    WHERE worker.host_id = kept.host_id AND {LIVE_SQL} AND NOT draining AND ordered = ''
        AND queues @> jsonb_build_array(task.queue_name)
        AND (task_names = '[]' OR task_names @> to_jsonb(task.task_name)) AND missing_roots = '[]'
)
"""  # noqa: S608 - a constant
"""SQL: the reservations that hold, with what their tasks need."""


def find(host_id: str) -> Kept | None:
    """Return what is kept free on this host, after dropping a reservation that has lost its sense."""
    rows = statements.run(f"{WANTED} AND kept.host_id = %(host_id)s", {"host_id": host_id})
    if not rows:
        drop(host_id)
        return None
    names = ("task_pk", "task_id", "memory_gb", "cores", "disk_gb")
    return Kept(**dict(zip(names, rows[0][1:], strict=True)))


def drop(host_id: str) -> None:
    """Keep nothing free any longer."""
    Reservation.objects.filter(host_id=host_id).delete()


_PASSED_OVER = f"""
INSERT INTO tasks_app_reservation (host_id, task_id, memory_gb, cores, made_at)
SELECT %(host_id)s, head.task_id, head.memory_gb, least(head.cores, %(host_cores)s::smallint), absurd_now()
FROM tasks_app_queue AS queue
CROSS JOIN LATERAL (
    SELECT task_id, rank, memory_gb, cores, disk_gb, greatest(runnable_at, joined_at) AS since FROM tasks_app_task
    WHERE queue_name = queue.name AND status = 'pending' AND hold = 0
        AND memory_gb <= %(total_gb)s::float8 AND timeout_sec <= %(timeout_most_sec)s::integer
        AND task_name = ANY(%(task_names)s::text[])
        AND (unavailable_on = '{{}}' OR coalesce(
            (unavailable_on -> %(host_id)s::text ->> 'until')::timestamptz, '-infinity') <= absurd_now())
        AND NOT EXISTS (SELECT FROM tasks_app_reservation AS other WHERE other.task_id = tasks_app_task.task_id)
    ORDER BY rank, id LIMIT 1
) AS head
WHERE queue.name = ANY(%(queues)s::text[]) AND queue.paused_at IS NULL
    AND since < absurd_now() - {RESERVE_AFTER_SEC} * interval '1 second'
    AND (head.memory_gb > %(free_gb)s::float8
        OR least(head.cores, %(host_cores)s::smallint) > %(free_cores)s::integer)
ORDER BY head.rank LIMIT 1
ON CONFLICT DO NOTHING
RETURNING task_id
"""  # noqa: S608 - a constant


def make(worker: Worker, room: Room) -> UUID | None:
    """Reserve room for the most urgent task that has waited long and does not fit now; return its id.

    Only the first task of each queue is considered: one further behind comes to the front in time.
    """
    params = {
        "host_id": worker.host_id,
        "queues": list(worker.queues),
        "task_names": registry.names(),
        "total_gb": worker.memory_gb,
        "free_gb": room.memory_gb,
        "free_cores": room.free_cores,
        "host_cores": room.host_cores,
        "timeout_most_sec": room.timeout_most_sec,
    }
    rows = statements.run(_PASSED_OVER, params)
    return rows[0][0] if rows else None
