from django.db import migrations

# The queue's clock: the beginning of the statement, or the moment that a test has set for its own session.
CLOCK = """
CREATE FUNCTION absurd_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(nullif(current_setting('absurd.now', true), '')::timestamptz, statement_timestamp())
$$
"""

# One row a (queue, status) whose count a statement changes; nothing where statuses stay as they are.
COUNTS = """
CREATE FUNCTION absurd_count_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasks_app_countdelta (queue_name, status, delta)
    SELECT queue_name, status, count(*) FROM fresh GROUP BY queue_name, status;
    RETURN NULL;
END $$;
CREATE FUNCTION absurd_count_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasks_app_countdelta (queue_name, status, delta)
    SELECT queue_name, status, sum(change)
    FROM (SELECT queue_name, status, 1 AS change FROM fresh
          UNION ALL SELECT queue_name, status, -1 FROM stale) AS changes
    GROUP BY queue_name, status HAVING sum(change) <> 0;
    RETURN NULL;
END $$;
CREATE FUNCTION absurd_count_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasks_app_countdelta (queue_name, status, delta)
    SELECT queue_name, status, -count(*) FROM stale GROUP BY queue_name, status;
    RETURN NULL;
END $$;
CREATE FUNCTION absurd_count_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tasks_app_countdelta;
    DELETE FROM tasks_app_queuecount;
    RETURN NULL;
END $$;
CREATE TRIGGER task_count_inserted AFTER INSERT ON tasks_app_task
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION absurd_count_inserted();
CREATE TRIGGER task_count_updated AFTER UPDATE ON tasks_app_task
    REFERENCING NEW TABLE AS fresh OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION absurd_count_updated();
CREATE TRIGGER task_count_deleted AFTER DELETE ON tasks_app_task
    REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION absurd_count_deleted();
CREATE TRIGGER task_count_truncated AFTER TRUNCATE ON tasks_app_task
    FOR EACH STATEMENT EXECUTE FUNCTION absurd_count_truncated();
INSERT INTO tasks_app_queuecount (queue_name, status, count)
    SELECT queue_name, status, count(*) FROM tasks_app_task GROUP BY queue_name, status;
"""

UNCOUNT = """
DROP TRIGGER task_count_inserted ON tasks_app_task;
DROP TRIGGER task_count_updated ON tasks_app_task;
DROP TRIGGER task_count_deleted ON tasks_app_task;
DROP TRIGGER task_count_truncated ON tasks_app_task;
DROP FUNCTION absurd_count_inserted, absurd_count_updated, absurd_count_deleted, absurd_count_truncated;
"""

# These tables live on updates and deletions as the task table does (see 0002_storage).
TUNED = ("tasks_app_attempt", "tasks_app_taskevent", "tasks_app_countdelta", "tasks_app_limitslot", "tasks_app_worker")
SETTINGS = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0"
NAMES = "autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay"
TUNE = [f"ALTER TABLE {table} SET ({SETTINGS})" for table in TUNED]
UNTUNE = [f"ALTER TABLE {table} RESET ({NAMES})" for table in TUNED]


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0003_engine")]
    operations = [
        migrations.RunSQL(CLOCK, "DROP FUNCTION absurd_now()"),
        migrations.RunSQL(COUNTS, UNCOUNT),
        migrations.RunSQL(TUNE, UNTUNE),
    ]
