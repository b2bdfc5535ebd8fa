"""The live workers of a task's queue, with what they have free, and why none of them claims the task."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from tasks_app import formats
from tasks_app.engine import reservations
from tasks_app.engine.system_state import is_enabled
from tasks_app.models import Task, Worker
from tasks_app.models.worker import LIVE_SQL
from tasks_app.monitoring.explain.findings import SHOWN, Case, Code, Finding, blocking, found, select
from tasks_app.postgresql import clock

WORKERS_MOST = 500

# Memory and cores are counted over all workers of a host, also those of other queues and those that are not live.
_LIVE = f"""
WITH live AS (
    SELECT id, label, host, host_id, concurrency, memory_gb, cores, disk_gb, heartbeat_at,
        extract(epoch FROM drains_at - absurd_now())::float8 AS left_sec,
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
    live.cores,
    greatest(0, live.cores - of_host.cores - least(coalesce(kept.cores, 0), live.cores))::integer AS free_cores,
    kept.task_id AS reserved_for, live.disk_gb, live.host_id, live.knows_name, live.left_sec, live.missing_roots::text
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
class LiveWorker:
    """A live worker of the task's queue, with what it and its host have free."""

    id: UUID
    label: str
    host: str
    concurrency: int
    memory_gb: float
    """The share of its host's memory that tasks may use."""
    draining: bool
    running: int
    oldest: datetime | None
    """When its longest-running attempt started."""
    free_gb: float
    host_running: int
    """Claimed tasks of all workers of its host."""
    cores: int
    free_cores: int
    reserved_for: UUID | None
    """Another task that memory and cores of its host are reserved for."""
    disk_gb: float
    """Free space where it writes; 0 where it has not reported it."""
    host_id: str
    knows_name: bool
    """Whether it claims tasks of this name."""
    left_sec: float | None
    """Until its time limit makes it drain; none without a limit."""
    missing_roots: list[str]
    """Data roots that are not mounted on its host; while there are any it claims nothing."""

    def __str__(self) -> str:
        return f"{self.label}@{self.host}"

    @property
    def free_slots(self) -> int:
        return max(0, self.concurrency - self.running)

    @property
    def disk_is_low(self) -> bool:
        """Whether it claims nothing because too little space is free where it writes."""
        return 0 < self.disk_gb < settings.ABSURD_DISK_FLOOR_GB

    @property
    def claims_nothing(self) -> bool:
        return self.draining or self.disk_is_low or bool(self.missing_roots)

    @property
    def claims_name(self) -> bool:
        """Whether it claims tasks of this name now."""
        return self.knows_name and not self.claims_nothing

    def has_time(self, task: Task) -> bool:
        """Whether the task's timeout ends before its time limit makes it drain."""
        return self.left_sec is None or task.timeout_sec <= self.left_sec

    def has_memory(self, task: Task) -> bool:
        return task.memory_gb <= self.free_gb

    def fits(self, task: Task) -> bool:
        return self.has_time(task) and self.has_memory(task) and min(task.cores, self.cores) <= self.free_cores

    @property
    def names(self) -> dict[str, Any]:
        """Its names, for a detail."""
        return {"worker": self.label, "host": self.host}


def live_workers(case: Case) -> list[LiveWorker]:
    """Return the live workers of the task's queue."""
    task = case.task
    params = {"queue": json.dumps([task.queue_id]), "task_id": task.task_id, "task_name": task.task_name}
    return [LiveWorker(**{**row, "missing_roots": json.loads(row["missing_roots"])}) for row in select(_LIVE, params)]


def free_slots(case: Case, workers: Sequence[LiveWorker]) -> int:
    """Return how many slots could take the task now."""
    return sum(worker.free_slots for worker in workers if worker.claims_name and worker.fits(case.task))


def lasting(case: Case, workers: Sequence[LiveWorker]) -> Iterator[Finding]:
    """Find what keeps workers from the task until an operator acts."""
    if not workers:
        yield _no_worker(case)
        return
    knowing = [worker for worker in workers if worker.knows_name]
    if not knowing:
        yield _unknown_name(case, workers)
        return
    if all(worker.draining for worker in workers):
        yield _all_paused(workers)
    elif all(worker.draining or worker.disk_is_low for worker in workers):
        yield _disks_full([worker for worker in workers if worker.disk_is_low])
    elif all(worker.claims_nothing for worker in knowing):
        yield _roots_missing([worker for worker in knowing if worker.missing_roots])
    else:
        yield from _unavailable(case, [worker for worker in knowing if worker.claims_name])
    if (able := [worker for worker in knowing if worker.claims_name]) and not any(
        worker.has_time(case.task) for worker in able
    ):
        yield _time_left_short(case, able)
    largest, needs_gb = max(workers, key=lambda worker: worker.memory_gb), case.task.memory_gb
    if needs_gb > largest.memory_gb:
        yield blocking(
            Code.MEMORY_TOO_BIG,
            f"It needs {needs_gb:g} GB, and the largest live worker, {largest}, has {largest.memory_gb:.3g} GB.",
            "Start a worker with a larger --memory-gb, on a host that has the memory.",
            needs_gb=needs_gb,
            largest_gb=largest.memory_gb,
            **largest.names,
        )


def passing(case: Case, workers: Sequence[LiveWorker]) -> Iterator[Finding]:
    """Find what keeps workers from the task until some attempt ends: memory, cores, slots."""
    able = [worker for worker in workers if worker.claims_name and worker.has_time(case.task)]
    fitting = [worker for worker in able if worker.fits(case.task)]
    if able and not fitting:
        without_cores = [worker for worker in able if worker.has_memory(case.task)]
        yield _cores_busy(case, without_cores) if without_cores else _memory_busy(case, able)
    elif fitting and not any(worker.free_slots for worker in fitting):
        yield _slots_busy(case, fitting, some_lack_memory=len(fitting) < len(able))


def _listed(workers: Sequence[LiveWorker]) -> str:
    more = len(workers) - SHOWN
    return ", ".join(map(str, workers[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _named(workers: Sequence[LiveWorker], *fields: str) -> list[dict[str, Any]]:
    """Return the first workers with some of their values, for a detail."""
    return [{**worker.names, **{name: getattr(worker, name) for name in fields}} for worker in workers[:SHOWN]]


def _no_worker(case: Case) -> Finding:
    queue = case.task.queue_id
    last = Worker.objects.serving(queue).order_by("-heartbeat_at").first()
    text, named = f"No live worker serves the queue {queue}, and none ever has.", None
    if last is not None:
        end = "stopped" if last.stopped_at else "last reported"
        at = case.since(last.stopped_at or last.heartbeat_at)
        text = f"No live worker serves the queue {queue}; the last one that did, {last}, {end} {at}."
        named = {
            "worker": last.label,
            "host": last.host,
            "boot_id": str(last.pk),
            "heartbeat_at": clock.stamp(last.heartbeat_at),
            "stopped_at": last.stopped_at and clock.stamp(last.stopped_at),
        }
    enable = "" if is_enabled() else "Absurd is disabled: run manage.py absurd_enable first. "
    command = f"manage.py runworker --queue-name {shlex.quote(queue)}"
    return blocking(Code.NO_WORKER, text, f"{enable}Start one: {command}", queue=queue, last=named, command=command)


def _unknown_name(case: Case, workers: Sequence[LiveWorker]) -> Finding:
    name, queue = case.task.task_name, case.task.queue_id
    return blocking(
        Code.UNKNOWN_TASK_NAME,
        f"No live worker of the queue {queue} knows the task name {name}, so none claims it: {_listed(workers)}.",
        "Start workers of a version that has this task name, or cancel the task.",
        task_name=name,
        workers=_named(workers),
    )


def _all_paused(workers: Sequence[LiveWorker]) -> Finding:
    one = len(workers) == 1
    subject = "The only live worker of this queue is" if one else f"All {len(workers)} live workers of this queue are"
    text = f"{subject} paused or draining: {_listed(workers)}."
    return blocking(Code.WORKERS_PAUSED, text, "Resume one, or start another.", workers=_named(workers))


def _disks_full(workers: Sequence[LiveWorker]) -> Finding:
    least = settings.ABSURD_DISK_FLOOR_GB
    each = ", ".join(f"{worker} has {worker.disk_gb:.3g} GB" for worker in workers[:SHOWN])
    return blocking(
        Code.DISK_LOW,
        f"The live workers of this queue claim nothing, because less than {least:g} GB of disk is free: {each}.",
        "Free space on their disks; the output of failed attempts is in .attempts of the first data root.",
        floor_gb=least,
        workers=_named(workers, "disk_gb"),
    )


def _roots_missing(workers: Sequence[LiveWorker]) -> Finding:
    each = ", ".join(f"{worker} lacks {', '.join(worker.missing_roots)}" for worker in workers[:SHOWN])
    return blocking(
        Code.ROOTS_MISSING,
        f"The live workers of this queue claim nothing, because data roots are not mounted on their hosts: {each}.",
        "Mount them there; if a root is new, mark it with manage.py absurd_setup --mark-roots. The workers then claim "
        "again without a restart.",
        workers=_named(workers, "missing_roots"),
    )


def _unavailable(case: Case, workers: Sequence[LiveWorker]) -> Iterator[Finding]:
    """Find that every host that could run the task has lately lacked something that it needs."""
    on: dict[str, dict[str, Any]] = case.task.unavailable_on
    until = {
        worker.host_id: datetime.fromisoformat(on[worker.host_id]["until"])
        for worker in workers
        if worker.host_id in on
    }
    until = {host_id: moment for host_id, moment in until.items() if moment > case.as_of}
    if until and all(worker.host_id in until for worker in workers):
        hosts = [on[host_id] for host_id in list(until)[:SHOWN]]
        reasons = "; ".join(f"{entry['host']}: {entry['reason']}" for entry in hosts)
        yield blocking(
            Code.UNAVAILABLE,
            f"Every live host has lately lacked what it needs ({reasons}); "
            f"the first host tries again {case.until(min(until.values()))}.",
            "Repair what is missing there, or start a worker on a host that has it; no retries are used up.",
            hosts=hosts,
        )


def _time_left_short(case: Case, able: Sequence[LiveWorker]) -> Finding:
    timeout_sec, longest = case.task.timeout_sec, max(able, key=lambda worker: worker.left_sec or 0.0)
    return blocking(
        Code.TIME_LEFT_SHORT,
        f"Its timeout of {formats.duration(timeout_sec)} ends after the time limits of all live workers: the last one, "
        f"{longest}, drains in {formats.duration(longest.left_sec or 0.0)}.",
        "Nothing to do where a later job of the batch system has the time; else start workers with a longer "
        "--time-limit or without one, or respawn the task with a shorter timeout.",
        timeout_sec=timeout_sec,
        workers=_named(able, "left_sec"),
    )


def _memory_busy(case: Case, able: Sequence[LiveWorker]) -> Finding:
    task, best = case.task, max(able, key=lambda worker: worker.free_gb)
    return blocking(
        Code.MEMORY_BUSY,
        f"It needs {task.memory_gb:g} GB, and no live worker has enough free: {best} has {best.free_gb:.3g} of "
        f"{best.memory_gb:.3g} GB, the rest is {_reserved(best)}.",
        "Nothing to do: it fits when those have ended. To run more at once, add hosts or memory.",
        needs_gb=task.memory_gb,
        workers=_named(able, "free_gb", "memory_gb"),
    )


def _reserved(worker: LiveWorker) -> str:
    claimed = f"reserved for {formats.count(worker.host_running, 'claimed task')} of its host"
    return claimed if worker.reserved_for is None else f"{claimed} and for task {worker.reserved_for}"


def _cores_busy(case: Case, able: Sequence[LiveWorker]) -> Finding:
    best = max(able, key=lambda worker: worker.free_cores)
    return blocking(
        Code.CORES_BUSY,
        f"It needs {formats.count(case.task.cores, 'core')}, and no live worker with enough memory has enough cores "
        f"free: {best} has {best.free_cores} of {best.cores}, the rest is {_reserved(best)}.",
        "Nothing to do: it fits when those have ended. To run more at once, add hosts or raise --cores.",
        needs_cores=case.task.cores,
        workers=_named(able, "free_cores", "cores"),
    )


def _slots_busy(case: Case, fitting: Sequence[LiveWorker], *, some_lack_memory: bool) -> Finding:
    slots, running = sum(each.concurrency for each in fitting), sum(each.running for each in fitting)
    oldest = min((each.oldest for each in fitting if each.oldest is not None), default=None)
    whose = formats.count(len(fitting), "live worker") + (" with enough memory" if some_lack_memory else "")
    since = f"; the longest-running attempt started {case.since(oldest)}" if oldest else ""
    return found(
        Code.SLOTS_BUSY,
        f"All slots are busy, {min(running, slots)} of {slots} of {whose}{since}.",
        "Nothing to do: a free slot takes it. To run more at once, add workers or raise --concurrency.",
        severity="delaying",
        slots=slots,
        busy=running,
        workers=len(fitting),
        oldest_since=oldest,
    )
