-- Inserts new pending tasks, however many, and the event of each, or nothing while the system is disabled or a queue
-- is missing. One statement, so that a spawn is one round trip and one commit.
--
--   psql -v rows="'[{\"task_id\": \"01890a5d-ac96-774b-bcce-b302099a8057\", \"task_name\": \"note\",
--     \"queue_name\": \"dsa110-pipeline\", \"params\": {}, \"bindings\": {}, \"priority\": 5, \"rank_offset_ms\": 540000,
--     \"memory_gb\": 1, \"cores\": 1, \"disk_gb\": 0, \"concurrency_key\": \"\",
--     \"stage\": \"\"}]'" -v enabled=true -v timeout_sec=3600 -v max_retries=3 -v lease_sec=60 -v actor="'me'"
--     -v detail="'{}'" -v columns=id,task_id,status
--     -v kept=priority,concurrency_key -v definitions="priority smallint, concurrency_key text" -f insert.sql
--
-- The rows come as one JSON value: one parameter whatever their number, and one prepared plan for all.
-- `kept` are the options that their columns keep as given: an option that is added is not named here.
-- `given` is read twice and must be worked out once: MATERIALIZED.
-- The rows are inserted in the order given, parents before children, because rows are locked in the order of ids.
WITH given AS MATERIALIZED (
    SELECT row.*, queue.name AS known_queue,
        greatest(row.scheduled_at, absurd_now()) AS runnable_at,
        coalesce(row.timeout_sec, queue.default_timeout_sec, :timeout_sec::integer) AS own_timeout_sec,
        coalesce(row.max_retries, queue.default_max_retries, :max_retries::integer) AS own_max_retries,
        row.concurrency_key <> '' OR EXISTS (
            SELECT FROM tasks_app_limit WHERE scope = 'queue' AND name = queue.name) AS limited
    FROM ROWS FROM (jsonb_to_recordset(:rows::jsonb) AS (
        task_id uuid, task_name text, queue_name text, params jsonb, bindings jsonb, :definitions,
        rank_offset_ms bigint, waits boolean, memory_gb float8, cores smallint, disk_gb float8,
        scheduled_at timestamptz, expires_at timestamptz, queue_timeout_sec float8, total_timeout_sec float8,
        timeout_sec integer, max_retries smallint,
        join_quorum integer, join_deadline_sec float8, run_id bigint, stage text, traceparent text
    )) WITH ORDINALITY AS row
    LEFT JOIN tasks_app_queue AS queue ON queue.name = row.queue_name
), fresh AS (
    INSERT INTO tasks_app_task (
        task_id, task_name, queue_name, params, bindings, :kept, hold, rank,
        runnable_at, memory_gb, cores, disk_gb, timeout_sec, max_retries,
        expires_at, deadline_at, join_quorum, join_deadline_at,
        run_id, stage, traceparent, lease_sec,
        status, retry_count, crash_count, claim_epoch, created_by, created_at, cancel_requested_by, cancel_reason,
        progress_message, failure_class)
    SELECT
        task_id, task_name, queue_name, params, bindings, :kept,
        -- Bits 1, 2 and 4: for a moment, for parents, and for a slot of a limit when nothing else holds it.
        CASE WHEN waits OR runnable_at > absurd_now()
            THEN (runnable_at > absurd_now())::integer + 2 * coalesce(waits, false)::integer
            WHEN limited THEN 4 ELSE 0 END,
        floor(extract(epoch FROM runnable_at) * 1000)::bigint + rank_offset_ms,
        runnable_at, memory_gb, cores, disk_gb, own_timeout_sec, own_max_retries,
        coalesce(expires_at, runnable_at + queue_timeout_sec * interval '1 second'),
        runnable_at + total_timeout_sec * interval '1 second',
        join_quorum, absurd_now() + join_deadline_sec * interval '1 second',
        run_id, stage, coalesce(traceparent, ''), :lease_sec::integer,
        'pending', 0, 0, 0, :actor::text, absurd_now(), '', '', '', ''
    FROM given
    WHERE coalesce((SELECT enabled FROM tasks_app_systemstate), :enabled::boolean)
        AND NOT EXISTS (SELECT FROM given WHERE known_queue IS NULL)
    ORDER BY ordinality
    RETURNING *
), recorded AS MATERIALIZED (
    SELECT absurd_record(array_agg(ROW(
        task_id, queue_name, (SELECT run.run_id FROM tasks_app_run AS run WHERE run.id = fresh.run_id), 'spawned', '',
        'pending', :actor::text, '', 0,
        :detail::jsonb || jsonb_build_object('update', jsonb_build_object(
            'task_name', task_name, 'priority', priority))
    )::absurd_event ORDER BY id)) FROM fresh
)
SELECT (SELECT paused_at IS NOT NULL FROM tasks_app_queue WHERE name = queue_name), :columns
FROM recorded CROSS JOIN fresh
