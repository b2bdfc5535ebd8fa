-- Completes every claim that still holds, closes its attempt, frees its slots and writes its event.
--
--   psql -v tokens="'{01890a5d-ac96-774b-bcce-b302099a8057}'" -v results="ARRAY['{}']" -v shown="'{true}'"
--     -v exit_codes="'{0}'" -v log_tails="ARRAY['']" -v peaks="'{1}'" -v cpus="'{1}'" -v reads="'{1}'"
--     -v writes="'{1}'" -v actor="'worker:worker-1'" -f complete.sql
--
-- `held` locks the rows in the order of their ids, as everybody does; the claim tokens are the fence.
-- The updates find their rows by `= ANY(ARRAY(…))` and fetch each row's own values by a small subselect: joined to an
-- unnest of unknown size, the planner would read the whole table.
WITH mine AS MATERIALIZED (
    SELECT * FROM unnest(
        :tokens::uuid[], :results::jsonb[], :shown::boolean[], :exit_codes::integer[], :log_tails::text[],
        :peaks::bigint[], :cpus::float8[], :reads::bigint[], :writes::bigint[]
    ) AS mine(token, result, shown, exit_code, log_tail, peak_rss_bytes, cpu_sec, read_bytes, write_bytes)
), held AS (
    SELECT id, claim_token FROM tasks_app_task
    WHERE claim_token = ANY(:tokens::uuid[]) AND status = 'claimed' ORDER BY id FOR UPDATE
), done AS (
    UPDATE tasks_app_task AS task
    SET status = 'completed', completed_at = absurd_now(), claim_token = NULL, lease_until = NULL,
        progress = NULL, progress_message = '', progress_metrics = '{}',
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
), recorded AS MATERIALIZED (
    SELECT absurd_record(array_agg(ROW(
        done.task_id, queue_name, (SELECT run.run_id FROM tasks_app_run AS run WHERE run.id = done.run_id),
        'completed', 'claimed', 'completed', :actor::text, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'retry_count', retry_count,
            'completed_at', to_char(completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
            || CASE WHEN mine.shown THEN jsonb_build_object('result', mine.result) ELSE '{}' END)
    )::absurd_event ORDER BY done.id))
    FROM done JOIN held USING (id) JOIN mine ON token = held.claim_token
)
SELECT claim_token, done.task_id, ARRAY(SELECT limit_id FROM freed)
FROM recorded CROSS JOIN done JOIN held USING (id)
