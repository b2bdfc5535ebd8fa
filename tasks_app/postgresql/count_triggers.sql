-- One row a (queue, status) whose count a statement changes; nothing where statuses stay as they are.
CREATE OR REPLACE FUNCTION absurd_count_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasks_app_countdelta (queue_name, status, delta)
    SELECT queue_name, status, count(*) FROM fresh GROUP BY queue_name, status;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION absurd_count_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasks_app_countdelta (queue_name, status, delta)
    SELECT queue_name, status, sum(change)
    FROM (SELECT queue_name, status, 1 AS change FROM fresh
          UNION ALL SELECT queue_name, status, -1 FROM stale) AS changes
    GROUP BY queue_name, status HAVING sum(change) <> 0;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION absurd_count_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasks_app_countdelta (queue_name, status, delta)
    SELECT queue_name, status, -count(*) FROM stale GROUP BY queue_name, status;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION absurd_count_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tasks_app_countdelta;
    DELETE FROM tasks_app_queuecount;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER task_count_inserted AFTER INSERT ON tasks_app_task
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION absurd_count_inserted();
CREATE OR REPLACE TRIGGER task_count_updated AFTER UPDATE ON tasks_app_task
    REFERENCING NEW TABLE AS fresh OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION absurd_count_updated();
CREATE OR REPLACE TRIGGER task_count_deleted AFTER DELETE ON tasks_app_task
    REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION absurd_count_deleted();
CREATE OR REPLACE TRIGGER task_count_truncated AFTER TRUNCATE ON tasks_app_task
    FOR EACH STATEMENT EXECUTE FUNCTION absurd_count_truncated();
