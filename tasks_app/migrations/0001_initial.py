import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.datetime
import django.db.models.functions.text
import tasks_app.models.system
import tasks_app.models.task
import uuid
from django.conf import settings
from django.db import migrations, models

from tasks_app.postgresql import COUNT_TRIGGERS, EVENTS


# The queue's clock: the beginning of the statement, or the moment that a test has set for its own session.
CLOCK = """
CREATE FUNCTION absurd_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(nullif(current_setting('absurd.now', true), '')::timestamptz, statement_timestamp())
$$
"""

UNCOUNT = """
DROP TRIGGER task_count_inserted ON tasks_app_task;
DROP TRIGGER task_count_updated ON tasks_app_task;
DROP TRIGGER task_count_deleted ON tasks_app_task;
DROP TRIGGER task_count_truncated ON tasks_app_task;
DROP FUNCTION absurd_count_inserted, absurd_count_updated, absurd_count_deleted, absurd_count_truncated;
"""

# These tables live on updates and deletions: vacuum by dead rows, not by a share of the table, and room for updates in
# each page of tasks keep the claim's index scan short.
TUNED = ("task", "attempt", "taskevent", "countdelta", "limitslot", "worker")
VACUUM = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0"
TUNE = [f"ALTER TABLE tasks_app_{table} SET ({VACUUM})" for table in TUNED]
TUNE += ["ALTER TABLE tasks_app_task SET (fillfactor = 80)"]


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunSQL(CLOCK, "DROP FUNCTION absurd_now()"),
        migrations.CreateModel(
            name='Acknowledgement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('finding', models.CharField(help_text='Name of the check.', max_length=50, unique=True)),
                ('acknowledged_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('acknowledged_by', models.CharField(max_length=200)),
                ('reason', models.TextField(blank=True)),
            ],
        ),
        migrations.CreateModel(
            name='CountDelta',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('queue_name', models.CharField(max_length=100)),
                ('status', models.CharField(max_length=10)),
                ('delta', models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='Queue',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('description', models.TextField(blank=True, help_text='What the queue is for, and whom to contact.')),
                ('paused_at', models.DateTimeField(blank=True, help_text='Paused since.', null=True)),
                ('paused_by', models.CharField(blank=True, max_length=200)),
                ('pause_reason', models.TextField(blank=True)),
                ('default_timeout_sec', models.PositiveIntegerField(blank=True, null=True)),
                ('default_max_retries', models.PositiveSmallIntegerField(blank=True, null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                'ordering': ['name'],
                'permissions': [('pause_queue', 'Can pause and resume a queue')],
            },
        ),
        migrations.CreateModel(
            name='Reservation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('host_id', models.CharField(max_length=64, unique=True)),
                ('task_id', models.UUIDField(unique=True)),
                ('memory_gb', models.FloatField()),
                ('cores', models.PositiveSmallIntegerField()),
                ('made_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('workflow', models.CharField(max_length=100)),
                ('label', models.CharField(blank=True, db_index=True, help_text='What the run is for, such as an observation.', max_length=200)),
                ('params', models.JSONField(default=dict)),
                ('created_by', models.CharField(blank=True, max_length=200)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                'ordering': ['-id'],
                'permissions': [('cancel_run', 'Can cancel a run'), ('retry_run', 'Can retry a run')],
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.CharField(editable=False, max_length=150, primary_key=True, serialize=False, unique=True)),
                ('prefix', models.CharField(editable=False, max_length=8, unique=True)),
                ('hashed_key', models.CharField(editable=False, max_length=150)),
                ('created', models.DateTimeField(auto_now_add=True, db_index=True)),
                ('name', models.CharField(default=None, help_text='A free-form name for the API key. Need not be unique. 50 characters max.', max_length=50)),
                ('revoked', models.BooleanField(blank=True, default=False, help_text='If the API key is revoked, clients cannot use it anymore. (This cannot be undone.)')),
                ('expiry_date', models.DateTimeField(blank=True, help_text='Once API key expires, clients cannot use it anymore.', null=True, verbose_name='Expires')),
                ('scopes', models.JSONField(default=tasks_app.models.system.all_scopes)),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('owner', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='api_keys', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'API key',
                'verbose_name_plural': 'API keys',
                'ordering': ('-created',),
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='ArchivedTask',
            fields=[
                ('id', models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ('task_id', models.UUIDField(unique=True)),
                ('queue_name', models.CharField(max_length=100)),
                ('task_name', models.CharField(max_length=100)),
                ('status', models.CharField(max_length=10)),
                ('run_id', models.UUIDField(null=True)),
                ('created_at', models.DateTimeField()),
                ('completed_at', models.DateTimeField()),
                ('last_event_id', models.BigIntegerField(help_text="The highest number of its events.")),
                ('archived_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('task', models.JSONField()),
                ('attempts', models.JSONField()),
                ('events', models.JSONField()),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('run_id__isnull', False)), fields=['run_id'], name='archive_run'), models.Index(fields=['last_event_id'], name='archive_last_event'), models.Index(fields=['completed_at'], name='archive_completed'), models.Index(fields=['status', '-id'], name='archive_status'), models.Index(fields=['queue_name', '-id'], name='archive_queue'), models.Index(django.db.models.functions.comparison.Collate(django.db.models.functions.text.Reverse(django.db.models.functions.text.Right(django.db.models.functions.comparison.Cast('task_id', models.TextField()), 12)), 'C'), name='archive_id_end')],
            },
        ),
        migrations.CreateModel(
            name='Freeze',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ('frozen_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('frozen_by', models.CharField(max_length=200)),
                ('reason', models.TextField()),
            ],
            options={
                'permissions': [('freeze_everything', 'Can freeze and thaw everything')],
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='freeze_is_single')],
            },
        ),
        migrations.CreateModel(
            name='IdempotencyKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('caller', models.CharField(db_default='', help_text='The caller that the key belongs to.', max_length=200)),
                ('key', models.CharField(max_length=200)),
                ('fingerprint', models.CharField(max_length=64)),
                ('task_id', models.UUIDField()),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), db_index=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('caller', 'key'), name='idempotency_key_of_caller')],
            },
        ),
        migrations.CreateModel(
            name='Limit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(choices=[('queue', 'Queue'), ('key', 'Key')], max_length=5)),
                ('name', models.CharField(help_text="The queue's name, or the concurrency_key.", max_length=200)),
                ('size', models.PositiveIntegerField(help_text='How many tasks may be claimed at once.')),
                ('explicit', models.BooleanField(default=True, help_text='Set by an operator; other limits exist for a concurrency_key and are removed when unused.')),
            ],
            options={
                'ordering': ['scope', 'name'],
                'permissions': [('set_limit', 'Can set a limit')],
                'constraints': [models.UniqueConstraint(fields=('scope', 'name'), name='limit_once')],
            },
        ),
        migrations.CreateModel(
            name='QueueCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('queue_name', models.CharField(max_length=100)),
                ('status', models.CharField(max_length=10)),
                ('count', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('queue_name', 'status'), name='queue_count_once')],
            },
        ),
        migrations.CreateModel(
            name='Schedule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('cron', models.CharField(max_length=100)),
                ('time_zone', models.CharField(default='UTC', max_length=50)),
                ('task_name', models.CharField(max_length=100)),
                ('params', models.JSONField(blank=True, default=dict)),
                ('queue_name', models.CharField(blank=True, max_length=100)),
                ('priority', models.PositiveSmallIntegerField(default=5)),
                ('enabled', models.BooleanField(default=True)),
                ('catch_up', models.CharField(choices=[('skip', 'Skip'), ('one', 'One'), ('all', 'All')], default='one', max_length=4)),
                ('jitter_sec', models.PositiveIntegerField(default=0)),
                ('next_run_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('last_run_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('last_task_id', models.UUIDField(blank=True, editable=False, null=True)),
                ('last_error', models.TextField(blank=True, editable=False, help_text='Why the last spawn was refused.')),
                ('created_by', models.CharField(blank=True, editable=False, max_length=200)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                'ordering': ['name'],
                'permissions': [('run_schedule', 'Can run, enable and disable a schedule')],
                'indexes': [models.Index(condition=models.Q(('enabled', True)), fields=['next_run_at'], name='schedule_due')],
            },
        ),
        migrations.CreateModel(
            name='SystemState',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ('enabled', models.BooleanField()),
                ('changed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('changed_by', models.CharField(max_length=200)),
                ('reason', models.TextField(blank=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='system_state_is_single')],
            },
        ),
        migrations.CreateModel(
            name='TaskDependency',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('child_task_id', models.UUIDField()),
                ('parent_task_id', models.UUIDField()),
            ],
            options={
                'indexes': [models.Index(fields=['parent_task_id'], name='dependency_parent')],
                'constraints': [models.UniqueConstraint(fields=('child_task_id', 'parent_task_id'), name='dependency_once'), models.CheckConstraint(condition=models.Q(('child_task_id', models.F('parent_task_id')), _negated=True), name='dependency_not_on_itself')],
            },
        ),
        migrations.CreateModel(
            name='TaskEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('task_id', models.UUIDField(blank=True, help_text='Empty when it is about a queue or the whole system.', null=True)),
                ('queue_name', models.CharField(blank=True, max_length=100)),
                ('run_id', models.UUIDField(blank=True, null=True)),
                ('event_type', models.CharField(help_text='spawned, claimed, completed, reprioritized, refused, …', max_length=30)),
                ('from_status', models.CharField(blank=True, max_length=10)),
                ('to_status', models.CharField(blank=True, max_length=10)),
                ('actor', models.CharField(max_length=200)),
                ('reason', models.TextField(blank=True)),
                ('attempt', models.PositiveIntegerField(default=0)),
                ('detail', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'verbose_name': 'event',
                'ordering': ['id'],
                'indexes': [models.Index(fields=['task_id', 'id'], name='event_task'), models.Index(condition=models.Q(('run_id__isnull', False)), fields=['run_id', 'id'], name='event_run'), models.Index(condition=models.Q(('task_id__isnull', True)), fields=['created_at'], name='event_of_no_task'), models.Index(condition=models.Q(('event_type', 'progress')), fields=['created_at'], name='event_progress'), models.Index(condition=models.Q(models.Q(('actor__startswith', 'user:'), ('actor__startswith', 'key:'), ('actor__startswith', 'cli:'), _connector='OR'), models.Q(('event_type', 'spawned'), _negated=True)), fields=['id'], name='event_by_people'), models.Index(condition=models.Q(('event_type', 'refused')), fields=['created_at'], name='event_refused')],
            },
        ),
        migrations.CreateModel(
            name='Worker',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('label', models.CharField(help_text='Its --worker-id.', max_length=200)),
                ('host', models.CharField(max_length=255)),
                ('host_id', models.CharField(help_text='Machine id and boot id: the same for all workers of one host.', max_length=64)),
                ('pid', models.PositiveIntegerField()),
                ('version', models.CharField(blank=True, max_length=50)),
                ('queues', models.JSONField(default=list)),
                ('task_names', models.JSONField(db_default=[], default=list, help_text='The only task names that it claims.')),
                ('missing_roots', models.JSONField(db_default=[], default=list, help_text='Data roots that are not mounted on its host; while there are any it claims nothing.')),
                ('data_roots', models.JSONField(db_default=[], default=list, help_text='ABSURD_DATA_ROOTS of its host.')),
                ('files_address', models.CharField(blank=True, db_default='', default='', help_text='Where it serves the logs and products of its host.', max_length=100)),
                ('concurrency', models.PositiveSmallIntegerField()),
                ('memory_gb', models.FloatField(default=0)),
                ('heartbeat_sec', models.PositiveSmallIntegerField(default=10, help_text='Interval of its heartbeats.')),
                ('cores', models.PositiveSmallIntegerField(db_default=0, default=0, help_text='Cores of its host for tasks.')),
                ('disk_gb', models.FloatField(db_default=0.0, default=0, help_text='Free space where it writes products.')),
                ('host_memory_bytes', models.BigIntegerField(db_default=0, default=0)),
                ('host_free_bytes', models.BigIntegerField(db_default=0, default=0, help_text='Memory of its host that is available.')),
                ('host_cpu_busy', models.FloatField(blank=True, help_text="Share of its host's processor time in use, 0 to 1.", null=True)),
                ('rss_bytes', models.BigIntegerField(db_default=0, default=0)),
                ('clock_skew_sec', models.FloatField(blank=True, help_text="Its host's clock minus the database's.", null=True)),
                ('ordered', models.CharField(blank=True, choices=[('pause', 'Pause'), ('drain', 'Drain'), ('recycle', 'Recycle')], db_default='', max_length=10)),
                ('ordered_by', models.CharField(blank=True, db_default='', max_length=200)),
                ('ordered_at', models.DateTimeField(blank=True, null=True)),
                ('order_reason', models.TextField(blank=True, db_default='')),
                ('draining', models.BooleanField(default=False, help_text='It claims no more tasks and exits when its running tasks end.')),
                ('stop_signal_at', models.DateTimeField(blank=True, help_text='When it got a stop signal; tasks that it does not return itself use up no retry.', null=True)),
                ('drains_at', models.DateTimeField(blank=True, help_text='When its time limit makes it drain; it claims nothing that may take longer.', null=True)),
                ('started_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('heartbeat_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('stopped_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-started_at'],
                'permissions': [('order_worker', 'Can pause, drain, recycle and resume a worker')],
                'indexes': [models.Index(condition=models.Q(('stopped_at', None)), fields=['heartbeat_at'], name='worker_live')],
            },
        ),
        migrations.CreateModel(
            name='LimitSlot',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('task_id', models.UUIDField(blank=True, help_text='The claimed task that occupies the slot.', null=True)),
                ('limit', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='slots', to='tasks_app.limit')),
            ],
            options={
                'ordering': ['limit', 'number'],
                'constraints': [models.UniqueConstraint(fields=('limit', 'number'), name='limit_slot_once'), models.UniqueConstraint(fields=('task_id', 'limit'), name='limit_slot_one_a_task')],
            },
        ),
        migrations.CreateModel(
            name='Task',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('task_id', models.UUIDField(default=tasks_app.models.task.new_task_id, editable=False, unique=True)),
                ('task_name', models.CharField(max_length=100)),
                ('params', models.JSONField(default=dict)),
                ('bindings', models.JSONField(default=dict, help_text='Params taken from parents\' results: {"param": {"task_id": …, "field": …}}; "task_ids": a list.')),
                ('priority', models.PositiveSmallIntegerField(default=5)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('claimed', 'Claimed'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='pending', editable=False, max_length=10)),
                ('hold', models.PositiveSmallIntegerField(default=0, help_text='Bits that keep a pending task from being claimed.')),
                ('rank', models.BigIntegerField(help_text='Order within the queue: the smallest is claimed first.')),
                ('runnable_at', models.DateTimeField(help_text='The task may be claimed from this moment on.')),
                ('timeout_sec', models.PositiveIntegerField(help_text='Longest time one attempt may take.')),
                ('max_retries', models.PositiveSmallIntegerField()),
                ('retry_count', models.PositiveSmallIntegerField(default=0)),
                ('crash_count', models.PositiveSmallIntegerField(default=0, help_text='Claims that ended killed, out of memory or lost; the present claim counts until it ends otherwise.')),
                ('quarantined_at', models.DateTimeField(blank=True, null=True)),
                ('expires_at', models.DateTimeField(blank=True, help_text='Fails if it was never claimed by then.', null=True)),
                ('deadline_at', models.DateTimeField(blank=True, help_text='End of the total timeout: no attempt starts or continues after it.', null=True)),
                ('idle_timeout_sec', models.PositiveIntegerField(blank=True, help_text='An attempt is stopped after this time without progress, output or processor time.', null=True)),
                ('concurrency_key', models.CharField(blank=True, db_default='', help_text='Tasks with the same key share a concurrency limit.', max_length=200)),
                ('join_quorum', models.PositiveIntegerField(blank=True, help_text='Quorum: number of dependencies that must complete; empty: all.', null=True)),
                ('join_deadline_at', models.DateTimeField(blank=True, help_text='Until then it waits for all dependencies, afterwards for the quorum.', null=True)),
                ('joined_at', models.DateTimeField(blank=True, help_text='When it stopped waiting for other tasks.', null=True)),
                ('claim_token', models.UUIDField(blank=True, null=True)),
                ('claim_epoch', models.PositiveIntegerField(default=0, help_text='Grows by one at every claim, never reset.')),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('lease_sec', models.PositiveIntegerField(default=60)),
                ('cancel_requested_at', models.DateTimeField(blank=True, null=True)),
                ('cancel_requested_by', models.CharField(blank=True, max_length=200)),
                ('cancel_reason', models.TextField(blank=True)),
                ('memory_gb', models.FloatField(default=1.0)),
                ('cores', models.PositiveSmallIntegerField(default=1)),
                ('disk_gb', models.FloatField(db_default=0.0, default=0)),
                ('progress', models.FloatField(blank=True, help_text='Fraction of the running attempt done, 0 to 1.', null=True)),
                ('progress_message', models.CharField(blank=True, max_length=300)),
                ('progress_metrics', models.JSONField(db_default={}, default=dict)),
                ('result', models.JSONField(blank=True, null=True)),
                ('error', models.TextField(blank=True, null=True)),
                ('failure_class', models.CharField(blank=True, choices=[('error', 'Error'), ('invalid', 'Invalid'), ('no_work', 'No Work'), ('timeout', 'Timeout'), ('idle_timeout', 'Idle Timeout'), ('killed', 'Killed'), ('memory', 'Memory'), ('lost', 'Lost'), ('drained', 'Drained'), ('unavailable', 'Unavailable'), ('cancelled', 'Cancelled')], max_length=20)),
                ('unavailable_on', models.JSONField(db_default={}, default=dict, help_text='Hosts that lacked what it needs: {host_id: {"host", "until", "times", "reason"}}.')),
                ('unrunnable_because', models.UUIDField(blank=True, help_text='The failed ancestor without which this task can never run.', null=True)),
                ('traceparent', models.CharField(blank=True, db_default='', help_text='The span of its spawn, as in W3C Trace Context; empty without OpenTelemetry.', max_length=55)),
                ('stage', models.CharField(blank=True, help_text='Name of this task within its run.', max_length=100)),
                ('created_by', models.CharField(blank=True, max_length=200)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('claimed_at', models.DateTimeField(blank=True, null=True)),
                ('completed_at', models.DateTimeField(blank=True, null=True)),
                ('queue', models.ForeignKey(db_column='queue_name', db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='tasks_app.queue', to_field='name')),
                ('run', models.ForeignKey(db_index=False, blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='tasks_app.run')),
                ('worker', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='tasks_app.worker')),
            ],
            options={
                'ordering': ['-id'],
                'permissions': [('spawn_task', 'Can spawn a task'), ('cancel_task', 'Can cancel a task'), ('retry_task', 'Can retry a task'), ('reprioritize_task', "Can change a task's priority"), ('requeue_task', 'Can return a stalled claim to the queue'), ('respawn_task', 'Can spawn a changed copy of a task')],
                'indexes': [models.Index(condition=models.Q(('hold', 0), ('status', 'pending')), fields=['queue', 'rank', 'id', 'memory_gb', 'cores', 'disk_gb'], name='task_claimable'), models.Index(condition=models.Q(('hold__in', (1, 3, 5, 7)), ('status', 'pending')), fields=['runnable_at'], name='task_future'), models.Index(condition=models.Q(('hold__in', (2, 3, 6, 7)), ('status', 'pending')), fields=['id'], name='task_waiting'), models.Index(condition=models.Q(('join_deadline_at__isnull', False), ('status', 'pending')), fields=['join_deadline_at'], name='task_join_deadline'), models.Index(condition=models.Q(('hold', 4), ('status', 'pending')), fields=['queue', 'rank', 'id', 'memory_gb'], name='task_parked'), models.Index(condition=models.Q(('hold', 4), ('status', 'pending'), models.Q(('concurrency_key', ''), _negated=True)), fields=['concurrency_key', 'queue', 'rank', 'id', 'memory_gb'], name='task_parked_by_key'), models.Index(condition=models.Q(('status__in', ['pending', 'claimed']), models.Q(('concurrency_key', ''), _negated=True)), fields=['concurrency_key', 'queue'], name='task_keyed'), models.Index(condition=models.Q(('expires_at__isnull', False), ('status', 'pending')), fields=['expires_at'], name='task_expiring'), models.Index(condition=models.Q(('deadline_at__isnull', False), ('status', 'pending')), fields=['deadline_at'], name='task_deadline'), models.Index(condition=models.Q(('status', 'claimed')), fields=['lease_until'], name='task_leased'), models.Index(condition=models.Q(('status', 'claimed')), fields=['worker'], name='task_holder'), models.Index(condition=models.Q(('completed_at__isnull', False)), fields=['completed_at', 'id'], name='task_finished'), models.Index(condition=models.Q(('status', 'failed')), fields=['completed_at'], name='task_failed'), models.Index(condition=models.Q(('quarantined_at__isnull', False)), fields=['quarantined_at'], name='task_quarantined'), models.Index(fields=['queue', 'status', 'id'], name='task_queue_status'), models.Index(fields=['status', 'id'], name='task_status'), models.Index(condition=models.Q(('run__isnull', False)), fields=['run'], name='task_of_run'), models.Index(django.db.models.functions.comparison.Collate(django.db.models.functions.text.Reverse(django.db.models.functions.text.Right(django.db.models.functions.comparison.Cast('task_id', models.TextField()), 12)), 'C'), name='task_id_end'), models.Index(condition=models.Q(('created_by__startswith', 'user:')), fields=['created_by', 'id'], name='task_of_person'), django.contrib.postgres.indexes.GinIndex(models.Func(models.F('error'), output_field=django.contrib.postgres.search.SearchVectorField(), template="to_tsvector('simple'::regconfig, regexp_replace(left(split_part(%(expressions)s, chr(10), 1), 300), '[^a-zA-Z0-9]+', ' ', 'g'))"), condition=models.Q(('error__isnull', False)), gin_pending_list_limit=512, name='task_error_words')],
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'claimed', 'completed', 'failed', 'cancelled'])), name='task_status_known'), models.CheckConstraint(condition=models.Q(('priority__gte', 1), ('priority__lte', 20)), name='task_priority_1_to_20'), models.CheckConstraint(condition=models.Q(('hold__gte', 0), ('hold__lte', 7)), name='task_hold_known_bits'), models.CheckConstraint(condition=models.Q(models.Q(('claim_token__isnull', False), ('lease_until__isnull', False), ('status', 'claimed'), ('worker__isnull', False)), models.Q(models.Q(('status', 'claimed'), _negated=True), ('claim_token__isnull', True), ('lease_until__isnull', True)), _connector='OR'), name='task_claim_is_whole'), models.CheckConstraint(condition=models.Q(models.Q(('completed_at__isnull', False), ('status__in', ['completed', 'failed', 'cancelled'])), models.Q(('completed_at__isnull', True), ('status__in', ['pending', 'claimed'])), _connector='OR'), name='task_finished_has_time'), models.UniqueConstraint(condition=models.Q(('claim_token__isnull', False)), fields=('claim_token',), name='task_claim_token_once'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'pending'), _negated=True), ('crash_count__lt', 3), _connector='OR'), name='task_quarantine_holds')],
            },
        ),
        migrations.CreateModel(
            name='LastBackup',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ('made_at', models.DateTimeField(help_text='The moment that the dump brings back.')),
                ('host', models.CharField(max_length=255)),
                ('path', models.TextField(help_text='Of the dump, on that host.')),
                ('size_bytes', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='last_backup_is_single')],
            },
        ),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(help_text='Check, state, and the row or place that has it.', max_length=300, unique=True)),
                ('check_name', models.CharField(max_length=50)),
                ('state', models.CharField(max_length=10)),
                ('message', models.TextField()),
                ('remedy', models.TextField(blank=True)),
                ('first_seen_at', models.DateTimeField()),
                ('last_seen_at', models.DateTimeField()),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('tries', models.PositiveSmallIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('task_id', models.UUIDField()),
                ('number', models.PositiveIntegerField(help_text='The claim epoch that started it.')),
                ('claim_token', models.UUIDField(unique=True)),
                ('started_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('outcome', models.CharField(blank=True, help_text='completed, or the failure class.', max_length=20)),
                ('error', models.TextField(blank=True)),
                ('traceback', models.TextField(blank=True)),
                ('exit_code', models.IntegerField(blank=True, null=True)),
                ('signal', models.CharField(blank=True, max_length=20)),
                ('log_path', models.CharField(blank=True, max_length=500)),
                ('log_tail', models.TextField(blank=True)),
                ('directory', models.CharField(blank=True, max_length=500)),
                ('peak_rss_bytes', models.BigIntegerField(blank=True, null=True)),
                ('cpu_sec', models.FloatField(blank=True, null=True)),
                ('read_bytes', models.BigIntegerField(blank=True, help_text='Read from disks, as the kernel counts.', null=True)),
                ('write_bytes', models.BigIntegerField(blank=True, help_text='Written to disks, as the kernel counts.', null=True)),
                ('sampled_at', models.DateTimeField(blank=True, help_text='When its use of resources was last measured.', null=True)),
                ('stop_asked_at', models.DateTimeField(blank=True, help_text='When the worker started to stop it.', null=True)),
                ('stop_due_at', models.DateTimeField(blank=True, help_text='When its slot is free at the latest.', null=True)),
                ('stop_reason', models.CharField(blank=True, db_default='', max_length=500)),
                ('stack', models.TextField(blank=True, db_default='', help_text='The stacks of all its threads when it was stopped or crashed.')),
                ('usage_series', django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), blank=True, help_text='Its memory and processor time over its life, few points.', null=True, size=None)),
                ('worker', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='attempts', to='tasks_app.worker')),
            ],
            options={
                'ordering': ['task_id', 'number'],
                'indexes': [models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['ended_at'], name='attempt_ended')],
                'constraints': [models.UniqueConstraint(fields=('task_id', 'number'), name='attempt_number_once')],
            },
        ),
        migrations.RunSQL(EVENTS, "DROP FUNCTION absurd_record; DROP TYPE absurd_event"),
        migrations.RunSQL(COUNT_TRIGGERS, UNCOUNT),
        migrations.RunSQL(TUNE, migrations.RunSQL.noop),
    ]
