-- The one place where events are written, and the lock that the readers of the feed rely on: before it draws its first
-- event number, a transaction takes a shared advisory lock whose key carries the sequence's last value.
CREATE TYPE absurd_event AS (
    task_id uuid, queue_name text, run_id uuid, event_type text, from_status text, to_status text, actor text,
    reason text, attempt integer, detail jsonb
);
CREATE FUNCTION absurd_record(events absurd_event[]) RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared((x'4142'::bigint << 48) | coalesce(
        pg_sequence_last_value('tasks_app_taskevent_id_seq'), 0));
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, run_id, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT task_id, queue_name, run_id, event_type, from_status, to_status, actor, reason, attempt, detail,
        absurd_now()
    FROM unnest(events) WITH ORDINALITY ORDER BY ordinality;
END
$$;
