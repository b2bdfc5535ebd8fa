"""Who could run the task: live workers of its queue, their slots, and the memory of their hosts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from tasks_app import formats
from tasks_app.engine import reservations
from tasks_app.engine.room import class_is_open
from tasks_app.engine.system_state import is_enabled
from tasks_app.models import Task, Worker
from tasks_app.models.worker import LIVE_SQL
from tasks_app.monitoring.explain import eligibility
from tasks_app.monitoring.explain.findings import Case, Code, Finding, stamp
from tasks_app.monitoring.explain.snapshot import select

SHOWN = 5
WORKERS_MOST = 500

# Room is counted over all workers of a host, also over those that serve other queues or are not heard of any more.
_LIVE = f"""
WITH live AS (
    SELECT id, label, host, host_id, concurrency, memory_gb, cores, disk_gb, heartbeat_at,
        draining OR ordered <> '' AS draining, missing_roots,
        task_names = '[]' OR task_names @> to_jsonb(%(task_name)s::text) AS knows_name FROM tasks_app_worker
    WHERE {LIVE_SQL} AND queues @> %(queue)s::jsonb
    ORDER BY heartbeat_at DESC LIMIT {WORKERS_MOST}
), claimed AS (
    SELECT worker.id, worker.host_id, task.memory_gb, task.cores, task.claimed_at
    FROM tasks_app_task AS task JOIN tasks_app_worker AS worker ON worker.id = task.worker_id
    WHERE task.status = 'claimed' AND worker.host_id IN (SELECT host_id FROM live)
), held AS (
    SELECT id, count(*) AS n, min(claimed_at) AS oldest FROM claimed GROUP BY id
)
SELECT live.id, live.label, live.host, live.concurrency, live.memory_gb, live.draining,
    coalesce(held.n, 0)::integer AS running, held.oldest,
    live.memory_gb - of_host.gb - coalesce(kept.memory_gb, 0) AS free_gb, of_host.n::integer AS host_running,
    live.cores, (live.cores - of_host.cores - least(coalesce(kept.cores, 0), live.cores))::integer AS free_cores,
    kept.task_id AS kept_for, live.disk_gb, live.host_id, live.knows_name, live.missing_roots::text
FROM live
LEFT JOIN held ON held.id = live.id
CROSS JOIN LATERAL (
    SELECT count(*) AS n, coalesce(sum(memory_gb), 0) AS gb, coalesce(sum(least(cores, live.cores)), 0) AS cores
    FROM claimed WHERE claimed.host_id = live.host_id
) AS of_host
LEFT JOIN ({reservations.WANTED}) AS kept ON kept.host_id = live.host_id AND kept.task_id <> %(task_id)s
ORDER BY live.label, live.id
"""  # noqa: S608 - constants


@dataclass(frozen=True, kw_only=True)
class Server:
    """A live worker that serves the task's queue."""

    id: UUID
    label: str
    host: str
    concurrency: int
    memory_gb: float
    """The share of its host's memory that tasks may use."""
    draining: bool
    running: int
    oldest: datetime | None
    """Since when its longest-running attempt runs."""
    free_gb: float
    host_running: int
    """Claimed tasks of all workers of its host."""
    cores: int
    free_cores: int
    kept_for: UUID | None
    """Another task that the host keeps room for."""
    disk_gb: float
    """Free space where it writes; 0 where it has not said."""
    host_id: str
    knows_name: bool
    """Whether it claims tasks of this name."""
    missing_roots: list[str]
    """Data roots that it does not see; while there are any it claims nothing."""

    def __str__(self) -> str:
        return f"{self.label}@{self.host}"

    @property
    def free_slots(self) -> int:
        """How many more attempts it would run."""
        return max(0, self.concurrency - self.running)

    @property
    def disk_is_low(self) -> bool:
        """Whether it claims nothing, because what it wrote might not find room."""
        return 0 < self.disk_gb < settings.ABSURD_DISK_FLOOR_GB

    @property
    def claims_nothing(self) -> bool:
        """Whether it claims no task at all."""
        return self.draining or self.disk_is_low or bool(self.missing_roots)

    def has_memory(self, task: Task) -> bool:
        """Whether the worker looks for tasks of this one's memory class now, and finds it small enough."""
        return task.memory_gb <= self.free_gb and class_is_open(task.memory_class, self.free_gb, self.memory_gb)

    def fits(self, task: Task) -> bool:
        """Whether there is room for the task beside all that the host runs."""
        return self.has_memory(task) and min(task.cores, self.cores) <= self.free_cores


def live_servers(case: Case) -> list[Server]:
    """Return the live workers of the task's queue with what they hold."""
    task = case.task
    asked = {"queue": json.dumps([task.queue_id]), "task_id": task.task_id}
    rows = select(_LIVE, {**asked, "task_name": task.task_name})
    return [Server(**{**row, "missing_roots": json.loads(row["missing_roots"])}) for row in rows]


def lasting(case: Case, servers: Sequence[Server]) -> list[Finding]:
    """What keeps workers from the task until somebody acts: nobody there, all paused, none eligible, all too small."""
    if not servers:
        return [_nobody(case)]
    found = []
    knowing = [server for server in servers if server.knows_name]
    if not knowing:
        return [eligibility.unknown_name(case, servers)]
    if all(server.draining for server in servers):
        found.append(_all_paused(servers))
    elif all(server.draining or server.disk_is_low for server in servers):
        found.append(_disks_full([server for server in servers if server.disk_is_low]))
    elif all(server.claims_nothing for server in knowing):
        found.append(eligibility.roots_missing([server for server in knowing if server.missing_roots]))
    else:
        found += eligibility.unavailable(case, [server for server in knowing if not server.claims_nothing])
    most = max(servers, key=lambda server: server.memory_gb)
    if case.task.memory_gb > most.memory_gb:
        found.append(_too_big(case, most))
    return found


def passing(case: Case, servers: Sequence[Server]) -> list[Finding]:
    """What keeps workers from the task until some attempt ends: memory, slots."""
    able = _able(servers)
    roomy = [server for server in able if server.fits(case.task)]
    if able and not roomy:
        narrow = [server for server in able if server.has_memory(case.task)]
        return [_cores_busy(case, narrow) if narrow else _memory_busy(case, able)]
    if roomy and not any(server.free_slots for server in roomy):
        return [_slots_busy(case, roomy, all_of_them=len(roomy) == len(able))]
    return []


def free_slots(case: Case, servers: Sequence[Server]) -> int:
    """How many slots could take the task at once."""
    return sum(server.free_slots for server in _able(servers) if server.fits(case.task))


def _able(servers: Sequence[Server]) -> list[Server]:
    return [server for server in servers if server.knows_name and not server.claims_nothing]


def _nobody(case: Case) -> Finding:
    queue = case.task.queue_id
    last = Worker.objects.filter(queues__contains=[queue]).order_by("-heartbeat_at").first()
    detail: dict[str, Any] = {"queue": queue, "last": None}
    text = f"No live worker serves the queue {queue}, and none ever has."
    if last is not None:
        end = "stopped" if last.stopped_at else "was last heard of"
        at = last.stopped_at or last.heartbeat_at
        text = f"No live worker serves the queue {queue}; the last that did, {last}, {end} {case.since(at)}."
        detail["last"] = {
            "worker": last.label,
            "host": last.host,
            "boot_id": str(last.pk),
            "heartbeat_at": stamp(last.heartbeat_at),
            "stopped_at": stamp(last.stopped_at),
        }
    switch = "" if is_enabled() else "Absurd is disabled: run manage.py absurd_enable first. "
    command = f"manage.py runworker --queue-name {shlex.quote(queue)}"
    detail["command"] = command
    return Finding(code=Code.NO_WORKER, weight="blocks", text=text, do=f"{switch}Start one: {command}", detail=detail)


def _listed(servers: Sequence[Server]) -> str:
    more = len(servers) - SHOWN
    return ", ".join(map(str, servers[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _all_paused(servers: Sequence[Server]) -> Finding:
    one = len(servers) == 1
    subject = "The only live worker of this queue is" if one else f"All {len(servers)} live workers of this queue are"
    return Finding(
        code=Code.WORKERS_PAUSED,
        weight="blocks",
        text=f"{subject} told to claim nothing: {_listed(servers)}.",
        do="Let one claim again, or start another.",
        detail={"workers": [{"worker": server.label, "host": server.host} for server in servers[:SHOWN]]},
    )


def _disks_full(servers: Sequence[Server]) -> Finding:
    least = settings.ABSURD_DISK_FLOOR_GB
    each = ", ".join(f"{server} has {server.disk_gb:.3g} GB" for server in servers[:SHOWN])
    return Finding(
        code=Code.DISK_LOW,
        weight="blocks",
        text=f"The live workers of this queue claim nothing, because less than {least:g} GB is free where they write: "
        f"{each}.",
        do="Make room on their disks; outputs of failed attempts are below .attempts of the first data root.",
        detail={"floor_gb": least, "workers": [{"worker": s.label, "disk_gb": s.disk_gb} for s in servers[:SHOWN]]},
    )


def _too_big(case: Case, most: Server) -> Finding:
    return Finding(
        code=Code.MEMORY_TOO_BIG,
        weight="blocks",
        text=f"It needs {case.task.memory_gb:g} GB, and the largest live worker, {most}, has {most.memory_gb:.3g} GB.",
        do="Start a worker with more --memory-gb, on a host that has it.",
        detail={"needs_gb": case.task.memory_gb, "largest_gb": most.memory_gb, "worker": most.label, "host": most.host},
    )


def _memory_busy(case: Case, able: Sequence[Server]) -> Finding:
    task, best = case.task, max(able, key=lambda server: server.free_gb)
    needs = f"It needs {task.memory_gb:g} GB"
    if task.memory_gb <= best.free_gb:
        needs += f", for which an empty host or {2**task.memory_class} GB must be free"
    return Finding(
        code=Code.MEMORY_BUSY,
        weight="blocks",
        text=f"{needs}, and no live worker has so much free: {best} has {best.free_gb:.3g} of {best.memory_gb:.3g} GB, "
        f"the rest is promised to {_promised(best)}.",
        do="Nothing to do: it fits when they have ended. More hosts or memory make it sooner.",
        detail={
            "needs_gb": task.memory_gb,
            "class_gb": 2**task.memory_class,
            "workers": [
                {"worker": each.label, "host": each.host, "free_gb": each.free_gb, "memory_gb": each.memory_gb}
                for each in able[:SHOWN]
            ],
        },
    )


def _promised(server: Server) -> str:
    claimed = f"{formats.count(server.host_running, 'claimed task')} of its host"
    return claimed if server.kept_for is None else f"{claimed} and kept for task {server.kept_for}"


def _cores_busy(case: Case, able: Sequence[Server]) -> Finding:
    best = max(able, key=lambda server: server.free_cores)
    return Finding(
        code=Code.CORES_BUSY,
        weight="blocks",
        text=f"It needs {formats.count(case.task.cores, 'core')}, and no live worker with enough memory has so many "
        f"free: {best} has {max(0, best.free_cores)} of {best.cores}, the rest is promised to {_promised(best)}.",
        do="Nothing to do: it fits when they have ended. More hosts, or more --cores, make it sooner.",
        detail={
            "needs_cores": case.task.cores,
            "workers": [
                {"worker": each.label, "host": each.host, "free_cores": each.free_cores, "cores": each.cores}
                for each in able[:SHOWN]
            ],
        },
    )


def _slots_busy(case: Case, roomy: Sequence[Server], *, all_of_them: bool) -> Finding:
    slots, running = sum(each.concurrency for each in roomy), sum(each.running for each in roomy)
    oldest = min((each.oldest for each in roomy if each.oldest is not None), default=None)
    whose = formats.count(len(roomy), "live worker") + ("" if all_of_them else " with enough memory")
    since = f"; the longest-running attempt began {case.since(oldest)}" if oldest else ""
    return Finding(
        code=Code.SLOTS_BUSY,
        weight="delays",
        text=f"All slots are busy, {min(running, slots)} of {slots} of {whose}{since}.",
        do="Nothing to do: it goes on when one is free. More workers, or more --concurrency, make it sooner.",
        detail={"slots": slots, "busy": running, "workers": len(roomy), "oldest_since": stamp(oldest)},
    )
