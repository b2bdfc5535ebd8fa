"""The state machine: the only module that writes `Task.status`.

Every move is legal by the table, closes the open attempt, frees the slots of limits, settles the tasks that depend on
this one and writes one numbered event, all in the caller's transaction. What a worker does many times a second, claim
and complete, and what a caller does by the thousand, insert, are single statements over many tasks.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app import clock, dependencies, event_window, limits, statements, wakeups
from tasks_app.errors import InvalidTransition
from tasks_app.models import Attempt, Hold, Task, TaskEvent, TaskStatus
from tasks_app.models.task import FINISHED, FailureClass

PENDING, CLAIMED = TaskStatus.PENDING, TaskStatus.CLAIMED
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED

LEGAL: frozenset[tuple[str, str]] = frozenset(
    {
        (PENDING, CLAIMED),
        (CLAIMED, COMPLETED),
        (CLAIMED, FAILED),
        (CLAIMED, CANCELLED),
        (CLAIMED, PENDING),
        (PENDING, CANCELLED),
        (PENDING, FAILED),
        (FAILED, PENDING),
        (CANCELLED, PENDING),
    }
)

RESULT_IN_EVENT_CHARS = 8_000
"""Larger results are left out of the event; a reader fetches the task."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """Who does what to a task, and why."""

    verb: str
    actor: str
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def record(
    task: Task, act: Act, *, from_status: str = "", to_status: str = "", update: Mapping[str, Any] | None = None
) -> None:
    """Write one event about the task in the current transaction and have the feed told after the commit."""
    event_window.enter()
    TaskEvent.objects.create(
        task_id=task.task_id,
        queue_name=task.queue_id,
        run_id=task.run.run_id if task.run else None,
        verb=act.verb,
        from_status=from_status,
        to_status=to_status,
        actor=act.actor,
        reason=act.reason,
        attempt=task.claim_epoch,
        detail={**act.detail, "update": dict(update or {})},
        created_at=clock.DatabaseNow(),
    )
    transaction.on_commit(wakeups.publisher.announce)


def announce(act: Act, *, queue_name: str = "", run_id: UUID | None = None) -> None:
    """Write one event that is about no single task: a queue, a limit, a schedule, a run or everything."""
    event_window.enter()
    TaskEvent.objects.create(
        queue_name=queue_name,
        run_id=run_id,
        verb=act.verb,
        actor=act.actor,
        reason=act.reason,
        detail=dict(act.detail),
        created_at=clock.DatabaseNow(),
    )
    transaction.on_commit(wakeups.publisher.announce)


def move(task: Task, to: TaskStatus, act: Act, *, attempt: Mapping[str, Any] | None = None, **fields: Any) -> None:
    """Move a locked task to another status.

    `fields` are further columns to set; `attempt` closes the open attempt with these columns.
    Raises InvalidTransition when the table has no such move.
    """
    before = TaskStatus(task.status)
    if (before, to) not in LEGAL:
        raise InvalidTransition(task.task_id, before, act.verb)
    root = task.unrunnable_because or task.task_id
    moment = clock.now()
    if task.claim_token is not None:
        Attempt.objects.filter(claim_token=task.claim_token).update(ended_at=moment, **(attempt or {}))
        fields.update(claim_token=None, lease_until=None, progress=None, progress_message="")
        fields.update(cancel_requested_at=None, cancel_requested_by="", cancel_reason="")
    fields["completed_at"] = moment if to in FINISHED else None
    if to == PENDING:
        fields["claimed_at"] = None
    Task.objects.filter(pk=task.pk).update(status=to, **fields)
    for name, value in {"status": to, **fields}.items():
        setattr(task, name, value)
    record(task, act, from_status=before, to_status=to, update=_update_of(task))
    if before == CLAIMED:
        admit(limits.free([task.task_id]))
    if to == PENDING and task.hold == 0:
        wakeups.wake_workers([task.queue_id])
    _settle_children(task, before, root)


def admit(limit_ids: Collection[int] | None = None) -> None:
    """Let parked tasks come forward under limits that have free slots, and wake those who can claim them."""
    if limit_ids is None or limit_ids:
        wakeups.wake_workers(limits.admit(limit_ids))


def _update_of(task: Task) -> dict[str, Any]:
    update: dict[str, Any] = {"retry_count": task.retry_count}
    if task.completed_at is not None:
        update["completed_at"] = clock.stamp(task.completed_at)
    if task.status == COMPLETED and len(str(task.result)) <= RESULT_IN_EVENT_CHARS:
        update["result"] = task.result
    if task.error and task.status in (FAILED, PENDING):
        update["error"] = task.error[:1000]
        update["failure_class"] = task.failure_class
    return update


def _settle_children(task: Task, before: TaskStatus, root: UUID) -> None:
    """Release, condemn or revive the tasks that depend on this one; `root` is the failure it descends from."""
    if task.status in FINISHED:
        settle(dependencies.lock_waiting_children([task.task_id]))
    elif task.status == PENDING and before == FAILED:
        for child in dependencies.lock_unrunnable_children(task.task_id, root):
            act = Act(verb="revived", actor="queue", reason=f"{task.task_name} {task.task_id} is tried again")
            move(child, PENDING, act, hold=Hold.DEPENDENCY, error=None, failure_class="", unrunnable_because=None)


def settle(waiting: Collection[Task]) -> int:
    """Release those of the locked waiting tasks that need not wait any longer, and fail those that wait in vain.

    Return how many are neither.
    """
    if not waiting:
        return 0
    done = dependencies.satisfied(waiting)
    release(done)
    left = [child for child in waiting if child not in done]
    lost = dependencies.hopeless(left) if left else []
    for child in lost:
        condemn(child, dependencies.first_hopeless_parent(child))
    return len(left) - len(lost)


_RELEASE = f"""
UPDATE tasks_app_task AS task SET joined_at = absurd_now(), hold = (hold & ~2) | {limits.PARK}
WHERE id = ANY(%(ids)s::bigint[])
RETURNING id, hold, limit_key, queue_name, joined_at
"""  # noqa: S608 - a constant


def release(children: Collection[Task]) -> None:
    """Let locked pending tasks go on that need not wait for others any longer; it happens once in a task's life."""
    if not children:
        return
    rows = {row[0]: row for row in statements.run(_RELEASE, {"ids": [child.pk for child in children]})}
    for child in children:
        _, child.hold, _, _, child.joined_at = rows[child.pk]
        reason = "every task it waited for has completed" if child.join_quorum is None else "enough have completed"
        record(child, Act(verb="released", actor="queue", reason=reason), to_status=PENDING)
    if any(child.hold & Hold.LIMIT for child in children):
        admit()
    wakeups.wake_workers({child.queue_id for child in children if child.hold == 0})


def condemn(child: Task, parent: Task) -> None:
    """Fail a locked pending task that can never run, because its parent failed for good."""
    told = parent.error or ""
    reason = told if parent.unrunnable_because else f"{parent} failed as invalid: {told}"
    move(
        child,
        FAILED,
        Act(verb="unrunnable", actor="queue", reason=reason[:1000]),
        error=reason,
        failure_class=FailureClass.INVALID,
        unrunnable_because=parent.unrunnable_because or parent.task_id,
    )


# Whoever writes events first says so (see event_window), here in a CTE that every later row is joined to, so that it is
# done before the first number is drawn.
_ENTERED = f"entered AS MATERIALIZED ({event_window.ENTER})"
_STAMP = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

_CLAIM = f"""
WITH {_ENTERED}, merged AS (
    SELECT candidate.*, queue.name AS queue_name
    FROM tasks_app_queue AS queue
    CROSS JOIN unnest(%(memory_classes)s::smallint[]) AS class(n)
    CROSS JOIN LATERAL (
        SELECT id, rank, memory_gb, limit_key FROM tasks_app_task
        WHERE queue_name = queue.name AND memory_class = class.n AND status = 'pending' AND hold = 0
        ORDER BY rank, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS candidate
    WHERE queue.name = ANY(%(queues)s::text[]) AND queue.paused_at IS NULL
        AND NOT EXISTS (SELECT FROM tasks_app_freeze)
), placed AS (
    SELECT *, row_number() OVER by_rank AS place, sum(memory_gb) OVER by_rank AS needed_gb
    FROM merged WINDOW by_rank AS (ORDER BY rank, id)
), chosen AS MATERIALIZED (
    SELECT * FROM placed WHERE place <= %(limit)s AND needed_gb <= %(free_gb)s::float8
), needs AS MATERIALIZED (
    SELECT id, limit_id, row_number() OVER (PARTITION BY limit_id ORDER BY place) AS n
    FROM (
        SELECT chosen.id, place, lim.id AS limit_id FROM chosen
        JOIN tasks_app_limit AS lim ON lim.scope = 'queue' AND lim.name = chosen.queue_name
        UNION ALL
        SELECT chosen.id, place, lim.id FROM chosen
        JOIN tasks_app_limit AS lim ON lim.scope = 'key' AND lim.name = chosen.limit_key
        WHERE chosen.limit_key <> ''
    ) AS each
), taken AS MATERIALIZED (
    SELECT id AS slot_id, limit_id, row_number() OVER (PARTITION BY limit_id ORDER BY number) AS n
    FROM (
        SELECT slot.* FROM (SELECT DISTINCT limit_id FROM needs) AS wanted
        JOIN tasks_app_limit AS lim ON lim.id = wanted.limit_id
        CROSS JOIN LATERAL (
            SELECT id, limit_id, number FROM tasks_app_limitslot
            WHERE limit_id = wanted.limit_id AND task_id IS NULL AND number <= lim.size
            ORDER BY number LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ) AS slot
    ) AS free
), refused AS MATERIALIZED (
    SELECT DISTINCT needs.id FROM needs LEFT JOIN taken USING (limit_id, n) WHERE taken.slot_id IS NULL
), parked AS (
    UPDATE tasks_app_task SET hold = 4 WHERE id = ANY(ARRAY(SELECT id FROM refused)) RETURNING id
), claimed AS (
    UPDATE tasks_app_task
    SET status = 'claimed', claim_token = gen_random_uuid(), claim_epoch = claim_epoch + 1, worker_id = %(worker)s,
        claimed_at = absurd_now(), lease_until = absurd_now() + lease_sec * interval '1 second',
        crash_count = crash_count + 1, progress = NULL, progress_message = '', error = NULL, failure_class = ''
    WHERE id = ANY(ARRAY(SELECT id FROM chosen EXCEPT SELECT id FROM refused))
    RETURNING *
), occupied AS (
    UPDATE tasks_app_limitslot AS slot SET task_id = claimed.task_id
    FROM needs JOIN taken USING (limit_id, n) JOIN claimed ON claimed.id = needs.id
    WHERE slot.id = taken.slot_id
), opened AS (
    INSERT INTO tasks_app_attempt
        (task_id, number, claim_token, worker_id, started_at,
         outcome, error, traceback, signal, log_path, log_tail, directory)
    SELECT task_id, claim_epoch, claim_token, worker_id, claimed_at, '', '', '', '', '', '', '' FROM claimed
), told AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, run_id, verb, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT claimed.task_id, queue_name, run.run_id, 'claimed', 'pending', 'claimed', %(actor)s, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'worker_id', %(label)s::text, 'retry_count', retry_count, 'claimed_at', {_STAMP.format("claimed_at")})),
        absurd_now()
    FROM entered CROSS JOIN claimed LEFT JOIN tasks_app_run AS run ON run.id = claimed.run_id
    ORDER BY rank, claimed.id
)
SELECT (SELECT count(*) FROM parked), task_id, claim_token, claim_epoch, task_name, queue_name, params::text,
    bindings::text, least(timeout_sec, ceil(extract(epoch FROM deadline_at - absurd_now())))::integer, lease_sec,
    memory_gb, cores, silence_sec
FROM (VALUES (1)) AS once LEFT JOIN claimed ON true ORDER BY rank, id
"""  # noqa: S608 - constants


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The rows of one claim: of each task what its attempt needs, the first to run first."""

    rows: list[tuple[Any, ...]]
    parked: int
    """Candidates that a full limit turned away; others may stand behind them."""


def claim(
    *, worker_pk: UUID, label: str, queues: Sequence[str], memory_classes: Sequence[int], free_gb: float, limit: int
) -> Claimed:
    """Claim up to `limit` tasks that together need no more than `free_gb`, in one statement."""
    found = statements.run(
        _CLAIM,
        {
            "queues": list(queues),
            "memory_classes": list(memory_classes),
            "free_gb": free_gb,
            "limit": limit,
            "worker": worker_pk,
            "label": label,
            "actor": f"worker:{label}",
        },
    )
    rows = [row[1:] for row in found if row[1] is not None]
    if rows:
        transaction.on_commit(wakeups.publisher.announce)
    return Claimed(rows=rows, parked=found[0][0])


_COMPLETE = f"""
WITH {_ENTERED}, mine AS MATERIALIZED (
    SELECT * FROM unnest(
        %(tokens)s::uuid[], %(results)s::jsonb[], %(tell)s::boolean[], %(exit_codes)s::integer[],
        %(log_tails)s::text[], %(peaks)s::bigint[], %(cpus)s::float8[]
    ) AS mine(token, result, tell, exit_code, log_tail, peak_rss_bytes, cpu_sec)
), held AS (
    SELECT id, claim_token FROM tasks_app_task
    WHERE claim_token = ANY(%(tokens)s::uuid[]) AND status = 'claimed' ORDER BY id FOR UPDATE
), done AS (
    UPDATE tasks_app_task AS task
    SET status = 'completed', completed_at = absurd_now(), claim_token = NULL, lease_until = NULL,
        progress = NULL, progress_message = '', cancel_requested_at = NULL, cancel_requested_by = '',
        cancel_reason = '', error = NULL, failure_class = '', crash_count = crash_count - 1,
        result = (SELECT result FROM held JOIN mine ON token = claim_token WHERE held.id = task.id)
    WHERE id = ANY(ARRAY(SELECT id FROM held))
    RETURNING id, task_id, queue_name, run_id, claim_epoch, retry_count, completed_at
), ended AS (
    UPDATE tasks_app_attempt AS attempt
    SET ended_at = absurd_now(), outcome = 'completed', exit_code = mine.exit_code, log_tail = mine.log_tail,
        peak_rss_bytes = mine.peak_rss_bytes, cpu_sec = mine.cpu_sec
    FROM mine
    WHERE attempt.claim_token = ANY(ARRAY(SELECT claim_token FROM held)) AND attempt.claim_token = mine.token
), freed AS (
    UPDATE tasks_app_limitslot SET task_id = NULL WHERE task_id = ANY(ARRAY(SELECT task_id FROM done))
    RETURNING limit_id
), told AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, run_id, verb, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT done.task_id, queue_name, run.run_id, 'completed', 'claimed', 'completed', %(actor)s, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'retry_count', retry_count, 'completed_at', {_STAMP.format("completed_at")})
            || CASE WHEN mine.tell THEN jsonb_build_object('result', mine.result) ELSE '{{}}' END),
        absurd_now()
    FROM entered CROSS JOIN done JOIN held USING (id) JOIN mine ON token = held.claim_token
    LEFT JOIN tasks_app_run AS run ON run.id = done.run_id
    ORDER BY done.id
)
SELECT claim_token, done.task_id, ARRAY(SELECT limit_id FROM freed) FROM done JOIN held USING (id)
"""  # noqa: S608 - constants


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The successful end of one claim."""

    task_id: UUID
    claim_token: UUID
    result: Any
    exit_code: int | None = None
    log_tail: str = ""
    peak_rss_bytes: int | None = None
    cpu_sec: float | None = None


def complete(ends: Sequence[Ended], *, actor: str) -> set[UUID]:
    """Complete every claim that still holds, in one statement; return the claim tokens of those that did.

    To be called in a transaction, because tasks that waited for these are settled in further statements.
    """
    results = [json.dumps(end.result) for end in ends]
    rows = statements.run(
        _COMPLETE,
        {
            "tokens": [end.claim_token for end in ends],
            "results": results,
            "tell": [len(result) <= RESULT_IN_EVENT_CHARS for result in results],
            "exit_codes": [end.exit_code for end in ends],
            "log_tails": [end.log_tail for end in ends],
            "peaks": [end.peak_rss_bytes for end in ends],
            "cpus": [end.cpu_sec for end in ends],
            "actor": actor,
        },
    )
    if rows:
        transaction.on_commit(wakeups.publisher.announce)
        admit(set(rows[0][2]))
        parents = dependencies.with_children([task_id for _, task_id, _ in rows])
        if parents:
            settle(dependencies.lock_waiting_children(parents))
    return {token for token, _, _ in rows}


INSERTED = {
    "task_id": "uuid",
    "task_name": "text",
    "queue_name": "text",
    "params": "jsonb",
    "bindings": "jsonb",
    "priority": "smallint",
    "hold": "smallint",
    "rank": "bigint",
    "memory_class": "smallint",
    "memory_gb": "float8",
    "cores": "smallint",
    "runnable_at": "timestamptz",
    "expires_at": "timestamptz",
    "deadline_at": "timestamptz",
    "timeout_sec": "integer",
    "silence_sec": "integer",
    "max_retries": "smallint",
    "lease_sec": "integer",
    "limit_key": "text",
    "join_quorum": "integer",
    "join_deadline_at": "timestamptz",
    "run_id": "bigint",
    "stage": "text",
}
"""The columns of a new task that its caller chooses; the others are the same for all."""

_INSERT = f"""
WITH {_ENTERED}, fresh AS (
    INSERT INTO tasks_app_task ({", ".join(INSERTED)}, status, retry_count, crash_count, claim_epoch, created_by,
        created_at, cancel_requested_by, cancel_reason, progress_message, failure_class)
    SELECT {", ".join(INSERTED)}, 'pending', 0, 0, 0, %(actor)s, absurd_now(), '', '', '', ''
    FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in INSERTED.items())})
        WITH ORDINALITY AS given({", ".join(INSERTED)}, place)
    ORDER BY place
    RETURNING id, task_id, queue_name, task_name, priority, run_id, created_at
), told AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, run_id, verb, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT fresh.task_id, queue_name, run.run_id, %(verb)s, '', 'pending', %(actor)s, %(reason)s, 0,
        %(detail)s::jsonb || jsonb_build_object('update', jsonb_build_object(
            'task_name', task_name, 'priority', priority)),
        absurd_now()
    FROM entered CROSS JOIN fresh LEFT JOIN tasks_app_run AS run ON run.id = fresh.run_id
    ORDER BY fresh.id
)
SELECT task_id, id, created_at FROM fresh
"""  # noqa: S608 - constants


def insert(tasks: Sequence[Task], act: Act) -> None:
    """Insert new pending tasks in the order given, one event each, in one statement. Holds must be set already."""
    columns: dict[str, list[Any]] = {name: [] for name in INSERTED}
    sources = {"queue_name": "queue_id"}
    for name, values in columns.items():
        values.extend(getattr(task, sources.get(name, name)) for task in tasks)
    for name in ("params", "bindings"):
        columns[name] = [json.dumps(value) for value in columns[name]]
    rows = statements.run(
        _INSERT,
        {**columns, "actor": act.actor, "verb": act.verb, "reason": act.reason, "detail": json.dumps(dict(act.detail))},
    )
    made = {task_id: (pk, created_at) for task_id, pk, created_at in rows}
    for task in tasks:
        task.pk, task.created_at = made[task.task_id]
        task.status = PENDING
        task.created_by = act.actor
        task._state.adding = False
    transaction.on_commit(wakeups.publisher.announce)
    wakeups.wake_workers({task.queue_id for task in tasks if task.hold == 0})
