-- Claims the most urgent tasks that one worker may have, opens their attempts and writes their events.
--
--   psql -v worker="'01890a5d-ac96-774b-bcce-b302099a8057'" -v label="'worker-1'" -v host_id="'host-1'"
--     -v queues="'{dsa110-pipeline}'" -v task_names="'{note}'" -v free_gb=16
--     -v free_cores=4 -v most_cores=32767 -v host_cores=4 -v free_disk_gb="'Infinity'" -v ids=NULL -v slotted=false
--     -v timeout_most_sec=2147483647 -v limit=4 -v columns=task_id,claim_token -f claim.sql
--
-- `limit` is a literal: for an unknown one a generic plan would expect a tenth of the table and sort it.
-- 'pending' and hold = 0 are literals: only so is the partial index task_claimable proved usable.
-- Its columns queue_name, rank, id give the order; memory_gb, cores and disk_gb behind them are compared inside the
-- index, so that what finds no room is passed over without a look at the table. Task names, timeouts and hosts that
-- lacked something are not part of it: such tasks in front are read and passed over.
-- One index scan for each queue, of `limit` rows at most, merged by rank.
WITH candidate AS (
    SELECT front.*, queue.name AS queue_name
    FROM tasks_app_queue AS queue
    CROSS JOIN LATERAL (
        SELECT id, rank, memory_gb, least(cores, :host_cores::smallint) AS cores, disk_gb, concurrency_key
        FROM tasks_app_task
        WHERE queue_name = queue.name AND status = 'pending' AND hold = 0
            AND cores <= :most_cores::smallint AND disk_gb <= :free_disk_gb::float8 AND memory_gb <= :free_gb::float8
            AND task_name = ANY(:task_names::text[]) AND timeout_sec <= :timeout_most_sec::integer
            AND (unavailable_on = '{}' OR coalesce(
                (unavailable_on -> :host_id::text ->> 'until')::timestamptz, '-infinity') <= absurd_now())
            AND (:ids::bigint[] IS NULL OR id = ANY(:ids::bigint[]))
        ORDER BY rank, id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS front
    WHERE queue.name = ANY(:queues::text[]) AND queue.paused_at IS NULL
        AND NOT EXISTS (SELECT FROM tasks_app_freeze)
        AND NOT EXISTS (SELECT FROM tasks_app_systemstate WHERE NOT enabled)
), placed AS (
    SELECT *, row_number() OVER by_rank AS place, sum(memory_gb) OVER by_rank AS needed_gb,
        sum(cores) OVER by_rank AS needed_cores, sum(disk_gb) OVER by_rank AS needed_disk_gb
    FROM candidate WINDOW by_rank AS (ORDER BY rank, id)
), chosen AS MATERIALIZED (
    SELECT * FROM placed WHERE place <= :limit AND needed_gb <= :free_gb::float8
        AND needed_cores <= :free_cores::integer AND needed_disk_gb <= :free_disk_gb::float8
-- A batch in which anything stands under a limit is only named, for the slots to be taken in a further statement: with
-- the slots' part in this one, every claim would pay for it, which is more than all the rest.
), limited AS MATERIALIZED (
    SELECT id FROM chosen WHERE NOT :slotted::boolean AND EXISTS (
        SELECT FROM chosen
        WHERE concurrency_key <> '' OR queue_name IN (SELECT name FROM tasks_app_limit WHERE scope = 'queue'))
-- `= ANY(ARRAY(…))` and not a join: the planner then takes the primary key whatever it thinks of the tables' sizes.
), claimed AS (
    UPDATE tasks_app_task
    SET status = 'claimed', claim_token = gen_random_uuid(), claim_epoch = claim_epoch + 1, worker_id = :worker::uuid,
        claimed_at = absurd_now(), lease_until = absurd_now() + lease_sec * interval '1 second',
        crash_count = crash_count + 1, progress = NULL, progress_message = '', progress_metrics = '{}', error = NULL,
        failure_class = ''
    WHERE id = ANY(ARRAY(SELECT id FROM chosen EXCEPT SELECT id FROM limited))
    RETURNING *
), opened AS (
    INSERT INTO tasks_app_attempt
        (task_id, number, claim_token, worker_id, started_at,
         outcome, error, traceback, signal, log_path, log_tail, directory)
    SELECT task_id, claim_epoch, claim_token, worker_id, claimed_at, '', '', '', '', '', '', '' FROM claimed
), recorded AS MATERIALIZED (
    SELECT absurd_record(array_agg(ROW(
        task_id, queue_name, (SELECT run.run_id FROM tasks_app_run AS run WHERE run.id = claimed.run_id), 'claimed',
        'pending', 'claimed', 'worker:' || :label::text, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'worker_id', :label::text, 'retry_count', retry_count,
            'claimed_at', to_char(claimed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))
    )::absurd_event ORDER BY rank, id)) FROM claimed
)
SELECT ARRAY(SELECT id FROM limited), params::text, bindings::text, claim_epoch,
    greatest(1, least(timeout_sec, ceil(extract(epoch FROM deadline_at - absurd_now()))))::integer,
    (SELECT run.run_id FROM tasks_app_run AS run WHERE run.id = claimed.run_id), :columns
FROM recorded LEFT JOIN claimed ON true ORDER BY rank, id
