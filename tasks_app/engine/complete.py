"""The successful end of a batch of claims, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app import cleaning
from tasks_app.engine import dependencies, notify
from tasks_app.engine.event_sql import ENTERED, stamp
from tasks_app.engine.move import RESULT_IN_EVENT_CHARS, admit, settle
from tasks_app.postgresql import statements

_COMPLETE = f"""
WITH {ENTERED}, mine AS MATERIALIZED (
    SELECT * FROM unnest(
        %(tokens)s::uuid[], %(results)s::jsonb[], %(tell)s::boolean[], %(exit_codes)s::integer[],
        %(log_tails)s::text[], %(peaks)s::bigint[], %(cpus)s::float8[],
        %(reads)s::bigint[], %(writes)s::bigint[]
    ) AS mine(token, result, tell, exit_code, log_tail, peak_rss_bytes, cpu_sec, read_bytes, write_bytes)
), held AS (
    SELECT id, claim_token FROM tasks_app_task
    WHERE claim_token = ANY(%(tokens)s::uuid[]) AND status = 'claimed' ORDER BY id FOR UPDATE
), done AS (
    UPDATE tasks_app_task AS task
    SET status = 'completed', completed_at = absurd_now(), claim_token = NULL, lease_until = NULL,
        progress = NULL, progress_message = '', progress_metrics = '{{}}',
        cancel_requested_at = NULL, cancel_requested_by = '', cancel_reason = '', error = NULL,
        failure_class = '', crash_count = crash_count - 1,
        result = (SELECT result FROM held JOIN mine ON token = claim_token WHERE held.id = task.id)
    WHERE id = ANY(ARRAY(SELECT id FROM held))
    RETURNING id, task_id, queue_name, run_id, claim_epoch, retry_count, completed_at
), ended AS (
    UPDATE tasks_app_attempt AS attempt
    SET ended_at = absurd_now(), outcome = 'completed', exit_code = mine.exit_code, log_tail = mine.log_tail,
        peak_rss_bytes = mine.peak_rss_bytes, cpu_sec = mine.cpu_sec,
        read_bytes = mine.read_bytes, write_bytes = mine.write_bytes
    FROM mine
    WHERE attempt.claim_token = ANY(ARRAY(SELECT claim_token FROM held)) AND attempt.claim_token = mine.token
), freed AS (
    UPDATE tasks_app_limitslot SET task_id = NULL WHERE task_id = ANY(ARRAY(SELECT task_id FROM done))
    RETURNING limit_id
), told AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, run_id, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT done.task_id, queue_name, run.run_id, 'completed', 'claimed', 'completed', %(actor)s, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'retry_count', retry_count, 'completed_at', {stamp("completed_at")})
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
    read_bytes: int | None = None
    write_bytes: int | None = None


def complete_rows(ends: Sequence[Ended], *, actor: str) -> set[UUID]:
    """Complete every claim that still holds, in one statement; return the claim tokens of those that did.

    To be called in a transaction, because tasks that waited for these are settled in further statements.
    """
    results = [cleaning.dumps(end.result) for end in ends]
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
            "reads": [end.read_bytes for end in ends],
            "writes": [end.write_bytes for end in ends],
            "actor": actor,
        },
    )
    if rows:
        transaction.on_commit(notify.publisher.announce)
        admit(set(rows[0][2]))
        parents = dependencies.with_children([task_id for _, task_id, _ in rows])
        if parents:
            settle(dependencies.lock_waiting_children(parents))
    return {token for token, _, _ in rows}
