"""The claim: one statement over a batch of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from django.db import transaction

from tasks_app.engine import notify
from tasks_app.engine.event_sql import ENTERED, stamp
from tasks_app.engine.room import Room
from tasks_app.postgresql import statements

ELIGIBLE = """task_name = ANY(%(task_names)s::text[]) AND (unavailable_on = '{}'
            OR coalesce((unavailable_on -> %(host_id)s::text ->> 'until')::timestamptz, '-infinity') <= absurd_now())"""
"""SQL: whether the worker knows a claimable task by its name, and its host has not lately lacked what the task needs.

Neither is part of the index: tasks in front that are not eligible are read and passed over.
"""

_CANDIDATES = f"""
WITH {ENTERED}, merged AS (
    SELECT candidate.*, queue.name AS queue_name
    FROM tasks_app_queue AS queue
    CROSS JOIN unnest(%(memory_classes)s::smallint[]) AS class(n)
    CROSS JOIN LATERAL (
        SELECT id, rank, memory_gb, least(cores, %(host_cores)s::smallint) AS cores, disk_gb, concurrency_key
        FROM tasks_app_task
        WHERE queue_name = queue.name AND memory_class = class.n AND status = 'pending' AND hold = 0
            AND memory_gb <= %(free_gb)s::float8 AND {ELIGIBLE} NARROW
        ORDER BY rank, id LIMIT LIMIT_N FOR UPDATE SKIP LOCKED
    ) AS candidate
    WHERE queue.name = ANY(%(queues)s::text[]) AND queue.paused_at IS NULL
        AND NOT EXISTS (SELECT FROM tasks_app_freeze)
        AND NOT EXISTS (SELECT FROM tasks_app_systemstate WHERE NOT enabled)
), placed AS (
    SELECT *, row_number() OVER by_rank AS place, sum(memory_gb) OVER by_rank AS needed_gb,
        sum(cores) OVER by_rank AS needed_cores, sum(disk_gb) OVER by_rank AS needed_disk_gb
    FROM merged WINDOW by_rank AS (ORDER BY rank, id)
), chosen AS MATERIALIZED (
    SELECT * FROM placed WHERE place <= LIMIT_N AND needed_gb <= %(free_gb)s::float8
        AND needed_cores <= %(free_cores)s::integer AND needed_disk_gb <= %(free_disk_gb)s::float8
)"""  # noqa: S608 - constants

# Cores and disk have no part in the index. Where they may not suffice, those at the front are looked through without
# locking, so that a claim reads a bounded number of rows and a wide task holds up no narrow one behind it.
_FRONT_ROWS = 500
_NARROW = f"""AND id = ANY(ARRAY(
            SELECT id FROM (
                SELECT id, cores, disk_gb FROM tasks_app_task
                WHERE queue_name = queue.name AND memory_class = class.n AND status = 'pending' AND hold = 0
                    AND {ELIGIBLE}
                ORDER BY rank, id LIMIT {_FRONT_ROWS}
            ) AS front
            WHERE least(cores, %(host_cores)s::smallint) <= %(free_cores)s::integer
                AND disk_gb <= %(free_disk_gb)s::float8))"""  # noqa: S608 - constants

Kind = Literal["usual", "narrow", "only"]
_CONDITIONS: dict[Kind, str] = {"usual": "", "narrow": _NARROW, "only": "AND task_id = %(only)s::uuid"}

# `granted` are the ids of the chosen that are claimed, `turned_away` how many a limit did not let through.
_TAKE = """
, claimed AS (
    UPDATE tasks_app_task
    SET status = 'claimed', claim_token = gen_random_uuid(), claim_epoch = claim_epoch + 1, worker_id = %(worker)s,
        claimed_at = absurd_now(), lease_until = absurd_now() + lease_sec * interval '1 second',
        crash_count = crash_count + 1, progress = NULL, progress_message = '', progress_metrics = '{}', error = NULL,
        failure_class = ''
    WHERE id = ANY(ARRAY(SELECT id FROM granted))
    RETURNING id, rank, task_id, claim_token, claim_epoch, task_name, queue_name, params, bindings, timeout_sec,
        deadline_at, lease_sec, memory_gb, cores, idle_timeout_sec, disk_gb, run_id, retry_count, claimed_at
), opened AS (
    INSERT INTO tasks_app_attempt
        (task_id, number, claim_token, worker_id, started_at,
         outcome, error, traceback, signal, log_path, log_tail, directory)
    SELECT task_id, claim_epoch, claim_token, %(worker)s, claimed_at, '', '', '', '', '', '', '' FROM claimed
), told AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, run_id, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT claimed.task_id, queue_name, run.run_id, 'claimed', 'pending', 'claimed', %(actor)s, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'worker_id', %(label)s::text, 'retry_count', retry_count, 'claimed_at', {claimed_at})),
        absurd_now()
    FROM entered CROSS JOIN claimed LEFT JOIN tasks_app_run AS run ON run.id = claimed.run_id
)
SELECT turned_away.n, task_id, claim_token, claim_epoch, task_name, queue_name, params::text, bindings::text,
    least(timeout_sec, ceil(extract(epoch FROM deadline_at - absurd_now())))::integer, lease_sec, memory_gb, cores,
    idle_timeout_sec, disk_gb
FROM turned_away LEFT JOIN claimed ON true ORDER BY rank, id
""".replace("{claimed_at}", stamp("claimed_at"))

# Without limits the slots' part costs more than all the rest, so it is left out as long as nobody needs it: a batch in
# which anything stands under a limit is turned away whole, and claimed by the other statement.
CLAIM_FREE = f"""
{_CANDIDATES}, turned_away AS MATERIALIZED (
    SELECT count(*) AS n FROM chosen
    WHERE concurrency_key <> '' OR queue_name IN (SELECT name FROM tasks_app_limit WHERE scope = 'queue')
), granted AS (
    SELECT id FROM chosen WHERE (SELECT n FROM turned_away) = 0
)
{_TAKE}
"""  # noqa: S608 - constants

CLAIM_LIMITED = f"""
{_CANDIDATES}, needs AS MATERIALIZED (
    SELECT id, limit_id, row_number() OVER (PARTITION BY limit_id ORDER BY place) AS n
    FROM (
        SELECT chosen.id, place, lim.id AS limit_id FROM chosen
        JOIN tasks_app_limit AS lim ON lim.scope = 'queue' AND lim.name = chosen.queue_name
        UNION ALL
        SELECT chosen.id, place, lim.id FROM chosen
        JOIN tasks_app_limit AS lim ON lim.scope = 'key' AND lim.name = chosen.concurrency_key
        WHERE chosen.concurrency_key <> ''
    ) AS each
), free AS MATERIALIZED (
    SELECT id AS slot_id, limit_id, row_number() OVER (PARTITION BY limit_id ORDER BY number) AS n
    FROM (
        SELECT slot.* FROM (SELECT DISTINCT limit_id FROM needs) AS wanted
        CROSS JOIN LATERAL (
            SELECT id, limit_id, number FROM tasks_app_limitslot
            WHERE limit_id = wanted.limit_id AND task_id IS NULL
            ORDER BY number LIMIT LIMIT_N FOR UPDATE SKIP LOCKED
        ) AS slot
    ) AS of_each
), refused AS MATERIALIZED (
    SELECT DISTINCT needs.id FROM needs LEFT JOIN free USING (limit_id, n) WHERE free.slot_id IS NULL
), parked AS (
    UPDATE tasks_app_task SET hold = 4 WHERE id = ANY(ARRAY(SELECT id FROM refused))
), turned_away AS (
    SELECT count(*) AS n FROM refused
), granted AS (
    SELECT id FROM chosen EXCEPT SELECT id FROM refused
), occupied AS (
    UPDATE tasks_app_limitslot AS slot SET task_id = task.task_id
    FROM needs JOIN free USING (limit_id, n) JOIN granted USING (id) JOIN tasks_app_task AS task USING (id)
    WHERE slot.id = free.slot_id
)
{_TAKE}
"""  # noqa: S608 - constants


def written(statement: str, limit: int, kind: Kind = "usual") -> str:
    """Return a claim's text for so many tasks.

    The limit is written into it: a generic plan for an unknown one would expect a tenth of the table.
    """
    return statement.replace("LIMIT_N", str(int(limit))).replace("NARROW", _CONDITIONS[kind])


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The rows of one claim: of each task what its attempt needs, the first to run first."""

    rows: list[tuple[Any, ...]]
    parked: int
    """Candidates that a full limit turned away; others may stand behind them."""


def claim_rows(
    *,
    worker_pk: UUID,
    label: str,
    host_id: str,
    task_names: Sequence[str],
    queues: Sequence[str],
    memory_classes: Sequence[int],
    room: Room,
    limit: int,
    narrow: bool = False,
    only: UUID | None = None,
) -> Claimed:
    """Claim up to `limit` tasks of these names that together find room, in one statement.

    `narrow` passes over those at the front that need more cores or disk than there are; `only` is the one that may be
    claimed.
    """
    params = {
        "queues": list(queues),
        "memory_classes": list(memory_classes),
        "free_gb": room.memory_gb,
        "free_cores": room.cores,
        "free_disk_gb": room.disk_gb,
        "host_cores": room.host_cores,
        "worker": worker_pk,
        "label": label,
        "host_id": host_id,
        "task_names": list(task_names),
        "actor": f"worker:{label}",
        "only": only,
    }
    kind: Kind = "only" if only is not None else "narrow" if narrow else "usual"
    found = statements.run(written(CLAIM_FREE, limit, kind), params)
    if found[0][0]:
        found = statements.run(written(CLAIM_LIMITED, limit, kind), params)
    rows = [row[1:] for row in found if row[1] is not None]
    if rows:
        transaction.on_commit(notify.publisher.announce)
    return Claimed(rows=rows, parked=found[0][0])
