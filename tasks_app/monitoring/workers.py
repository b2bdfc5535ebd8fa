"""Workers and what they are doing, from their last reports. `Worker.objects.live()` is the one definition of live."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db.models import QuerySet

from tasks_app.models import Task, TaskStatus, Worker, WorkerOrder
from tasks_app.models.worker import LOST_AFTER_HEARTBEATS, STALE_AFTER_HEARTBEATS
from tasks_app.postgresql import clock

WorkerState = Literal["active", "idle", "draining", "paused", "stale", "lost", "stopped"]
LIVE_STATES: tuple[WorkerState, ...] = ("active", "idle", "draining", "paused")
"""The states of the workers that `Worker.objects.live()` returns."""
STATES: tuple[WorkerState, ...] = (*LIVE_STATES, "stale", "lost", "stopped")

SILENT: tuple[WorkerState, ...] = ("stale", "lost")
SHOWN_FOR = timedelta(days=1)
"""How long a stopped or lost worker is still listed."""
SHOWN_MOST = 500


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """A worker, its state, and the tasks it holds."""

    worker: Worker
    state: WorkerState
    heartbeat_age_sec: float
    tasks: tuple[Task, ...]


def state_of(worker: Worker, moment: datetime, *, busy: bool) -> WorkerState:
    """Return the state at a moment: stale after three missed heartbeats, lost after ten."""
    if worker.stopped_at is not None:
        return "stopped"
    silent_for = moment - worker.heartbeat_at
    if silent_for > timedelta(seconds=LOST_AFTER_HEARTBEATS * worker.heartbeat_sec):
        return "lost"
    if silent_for > timedelta(seconds=STALE_AFTER_HEARTBEATS * worker.heartbeat_sec):
        return "stale"
    if worker.draining or worker.ordered in (WorkerOrder.DRAIN, WorkerOrder.RECYCLE):
        return "draining"
    if worker.ordered == WorkerOrder.PAUSE:
        return "paused"
    return "active" if busy else "idle"


def has_name(worker: Worker) -> bool:
    """Return whether the label was given; the default one changes at every start."""
    return worker.label != f"{worker.host}-{worker.pid}"


def replaces(later: Worker, lost: Worker) -> bool:
    """Return whether a worker was started in the place of a lost one: on its host, for its queues, under its label."""
    return (
        later.host == lost.host
        and later.started_at > lost.started_at
        and later.heartbeat_at > lost.heartbeat_at
        and (later.label == lost.label or not has_name(lost))
        and set(lost.queues) <= set(later.queues)
    )


def replaced(workers: Iterable[Worker], moment: datetime) -> set[UUID]:
    """Return the boot ids of the silent workers in whose place another one of them reports or has ended."""
    states = [(worker, state_of(worker, moment, busy=False)) for worker in workers]
    up = [worker for worker, state in states if state not in SILENT]
    return {lost.pk for lost, state in states if state in SILENT and any(replaces(each, lost) for each in up)}


def event_detail(worker: Worker) -> dict[str, Any]:
    """Return the detail of an event about a worker."""
    return {
        "worker_id": worker.label,
        "boot_id": str(worker.pk),
        "host": worker.host,
        "pid": worker.pid,
        "queues": worker.queues,
        "concurrency": worker.concurrency,
        "ordered": worker.ordered,
        "draining": worker.draining,
    }


def recent_workers() -> list[WorkerReport]:
    """Return every worker that has reported within a day, live ones first."""
    moment = clock.now()
    return sorted_reports(report_on(recent(moment)[:SHOWN_MOST], moment))


def recent(moment: datetime) -> QuerySet[Worker]:
    """Return the workers that have reported within a day of the moment, by label."""
    return Worker.objects.filter(heartbeat_at__gte=moment - SHOWN_FOR).order_by("label", "-started_at")


def sorted_reports(reports: Iterable[WorkerReport]) -> list[WorkerReport]:
    """Return the reports, those of live workers first."""
    return sorted(reports, key=lambda report: STATES.index(report.state))


def report_on(workers: Iterable[Worker], moment: datetime) -> list[WorkerReport]:
    """Return a report of each worker."""
    workers = list(workers)
    claimed = Task.objects.filter(status=TaskStatus.CLAIMED, worker__in=workers).defer("result", "params")
    return report_on_claims(workers, claimed.order_by("id"), moment)


def report_on_claims(workers: Iterable[Worker], claimed: Iterable[Task], moment: datetime) -> list[WorkerReport]:
    """Return a report of each worker with those of the claimed tasks that it holds."""
    held: dict[object, list[Task]] = {}
    for task in claimed:
        held.setdefault(task.worker_id, []).append(task)
    return [
        WorkerReport(
            worker=worker,
            state=state_of(worker, moment, busy=worker.pk in held),
            heartbeat_age_sec=round(max(0.0, (moment - worker.heartbeat_at).total_seconds()), 1),
            tasks=tuple(held.get(worker.pk, ())),
        )
        for worker in workers
    ]
