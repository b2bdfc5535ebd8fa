"""A year of observations and a month of tasks for the console, made in the database by a few statements.

The statements are put together from constants only; numbers are parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from absurd_project.benchmark.load import execute, insertion
from tasks_app.models import Queue

TABLES = (
    "tasks_app_task", "tasks_app_attempt", "tasks_app_taskevent", "tasks_app_taskdependency", "tasks_app_run",
    "tasks_app_archivedtask", "tasks_app_worker", "tasks_app_schedule", "pipeline_app_observation",
    "pipeline_app_subbandfile", "pipeline_app_product", "pipeline_app_calibration", "pipeline_app_measurement",
)  # fmt: skip
TASKS_A_RUN = 10
"""Seven stages of an observation and three tasks of the upkeep beside them."""
FLUXES_AN_IMAGE = 10
QUEUES = ("dsa110-pipeline", "archive", "upkeep")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How many rows are made."""

    tasks: int
    """Of ten tasks, seven are the stages of one observation: there is one observation, and one image, for ten."""
    archived: int
    with_history: int
    """The last tasks, which have attempts, events and dependencies."""
    pending: int
    files_of: int
    """The last observations, which have their 16 raw files."""
    tile_sec: int = 309
    """From one observation to the next."""

    @property
    def images(self) -> int:
        """Images, each with the other products of its tile."""
        return self.tasks // TASKS_A_RUN


FULL = Extent(tasks=1_000_000, archived=100_000, with_history=200_000, pending=20_000, files_of=20_000)
QUICK = Extent(tasks=20_000, archived=2_000, with_history=5_000, pending=1_000, files_of=200)

# A version 7 id from a time and a number, as tasks have.
_ID = """(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || substr(md5({n}::text), 1, 3)
    || '8' || substr(md5({n}::text), 4, 15))::uuid"""
_AT = "absurd_now() - interval '29 days' * (1 - given.n::float / %(tasks)s) - interval '10 minutes'"
_HASH = "(hashtext(given.n::text) & 1023)"
_STATUS = f"""CASE WHEN given.n > %(tasks)s - %(pending)s THEN 'pending' WHEN given.n > %(tasks)s - %(pending)s - 40
    THEN 'claimed' WHEN {_HASH} < 40 THEN 'failed' WHEN {_HASH} < 60 THEN 'cancelled' ELSE 'completed' END"""
_STAGES = """ARRAY['convert-uvh5-to-ms', 'calibration-solve', 'calibrate-target', 'imaging', 'self-calibration',
    'validation', 'photometry', 'health-check', 'housekeeping', 'night-report']"""
_STAGE = f"({_STAGES})[1 + (given.n - 1) %% 10]"
_WORKER = "(SELECT id FROM tasks_app_worker WHERE label = 'imager-' || (1 + given.n %% 4))"
_ENDED = f"{_STATUS} NOT IN ('pending', 'claimed')"
_ERROR = """'no antenna has 100 valid solutions (subband ' || given.n %% 16 || ' of 16)' || chr(10)
    || repeat('  File "/opt/absurd/pipeline_app/casa/calibration_solve.py", line 211, in solve' || chr(10), 30)"""
_PARAMS = """jsonb_build_object('paths', (SELECT jsonb_agg('/stage/dsa110/tile-' || (given.n - 1) / 10 || '_sb'
    || lpad(k::text, 2, '0') || '.hdf5') FROM generate_series(0, 15) AS k), 'n_threads', 2)"""
_RESULT = """jsonb_build_object('image_path', '/data/products/' || given.n || '.fits', 'verdict', 'pass', 'reasons',
    '[]'::jsonb, 'log', repeat('x', 500))"""

_TASKS = insertion(
    f"(SELECT n, {_PARAMS.replace('given.n', 'n')} AS params FROM generate_series(%(first)s, %(last)s) AS n) AS given",
    task_id=_ID.format(at=_AT, n="given.n"),
    queue_name=f"(ARRAY{list(QUEUES)!r})[1 + CASE WHEN (given.n - 1) %% 10 < 7 THEN 0 ELSE 1 + given.n %% 2 END]",
    task_name=_STAGE,
    priority="1 + given.n %% 20",
    status=_STATUS,
    hold=f"CASE WHEN {_STATUS} = 'pending' THEN (ARRAY[0, 0, 1, 2])[1 + given.n %% 4] ELSE 0 END",
    runnable_at=f"CASE WHEN {_STATUS} = 'pending' THEN absurd_now() + interval '20 days' ELSE {_AT} END",
    claim_epoch=f"CASE WHEN {_STATUS} = 'pending' THEN 0 ELSE 1 END",
    worker_id=f"CASE WHEN {_STATUS} <> 'pending' THEN {_WORKER} END",
    claim_token=f"CASE WHEN {_STATUS} = 'claimed' THEN gen_random_uuid() END",
    lease_until=f"CASE WHEN {_STATUS} = 'claimed' THEN absurd_now() + interval '20 days' END",
    run_id="CASE WHEN (given.n - 1) %% 10 < 7 THEN 1 + (given.n - 1) / 10 END",
    stage=f"CASE WHEN (given.n - 1) %% 10 < 7 THEN {_STAGE} ELSE '' END",
    failure_class=f"CASE WHEN {_STATUS} = 'failed' THEN 'invalid' ELSE '' END",
    error=f"CASE WHEN {_STATUS} = 'failed' THEN {_ERROR} END",
    result=f"CASE WHEN {_STATUS} = 'completed' THEN {_RESULT} END",
    created_by="(ARRAY['user:alice', 'key:ingest', 'cli:root@host'])[1 + given.n %% 3]",
    created_at=_AT,
    claimed_at=f"CASE WHEN {_STATUS} <> 'pending' THEN {_AT} + interval '20 s' END",
    completed_at=f"CASE WHEN {_ENDED} THEN {_AT} + interval '60 s' END",
)
_RUNS = """
INSERT INTO tasks_app_run (run_id, workflow, label, params, created_by, created_at)
SELECT md5('run' || n)::uuid, CASE WHEN n %% 24 = 0 THEN 'calibrator' ELSE 'target' END,
    to_char(absurd_now() - interval '1 s' * %(tile_sec)s * (%(images)s - n), 'YYYY-MM-DD"T"HH24:MI:SS'), '{}',
    'key:ingest', absurd_now() - interval '29 days' * (1 - n::float / %(images)s)
FROM generate_series(1, %(images)s) AS n ORDER BY n
"""
_WORKERS = """
INSERT INTO tasks_app_worker (id, label, host, host_id, pid, version, queues, concurrency, memory_gb, heartbeat_sec,
    draining, started_at, heartbeat_at, stopped_at)
SELECT gen_random_uuid(), 'imager-' || n, 'node-' || n %% 2, 'node-' || n %% 2, 1000 + n, '1', '["dsa110-pipeline"]',
    10, 50, 10, false, absurd_now() - interval '1 h' * n, absurd_now() + interval '1 day' * CASE WHEN n > 4 THEN -n
    ELSE 1 END, CASE WHEN n > 4 THEN absurd_now() - interval '1 day' * n END
FROM generate_series(1, 300) AS n
"""
_HISTORY = (
    """
INSERT INTO tasks_app_attempt (task_id, number, claim_token, worker_id, started_at, ended_at, outcome, error,
    traceback, signal, log_path, log_tail, directory, peak_rss_bytes, cpu_sec)
SELECT task_id, 1, coalesce(claim_token, gen_random_uuid()), worker_id, claimed_at, completed_at,
    CASE status WHEN 'completed' THEN 'completed' WHEN 'claimed' THEN '' WHEN 'failed' THEN 'invalid'
        ELSE 'cancelled' END, coalesce(error, ''), '', '', '',
    repeat('2026-10-01 06:00:00 INFO imaging::clean cycle' || chr(10), 40), '', 1800000000, 57.0
FROM tasks_app_task WHERE id > %(before)s AND status <> 'pending'
""",
    """
INSERT INTO tasks_app_taskevent
    (task_id, queue_name, run_id, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
SELECT task_id, queue_name, md5('run' || task.run_id)::uuid, step.type, step.before, step.after, step.actor, '',
    step.attempt, '{}', created_at
FROM tasks_app_task AS task, (VALUES
    ('spawned', '', 'pending', 0, 'key:ingest'), ('claimed', 'pending', 'claimed', 1, 'worker:imager-1'),
    ('progress', 'claimed', 'claimed', 1, 'worker:imager-1'),
    ('completed', 'claimed', 'completed', 1, 'worker:imager-1')
) AS step(type, before, after, attempt, actor)
WHERE task.id > %(before)s ORDER BY task.id
""",
    """
INSERT INTO tasks_app_taskevent
    (task_id, queue_name, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
SELECT task_id, queue_name, 'reprioritized', status, status, 'user:alice', 'wanted sooner', 1, '{}', created_at
FROM tasks_app_task AS task WHERE task.id > %(before)s AND task.id %% 10 = 0 ORDER BY task.id
""",
    """
INSERT INTO tasks_app_taskdependency (child_task_id, parent_task_id)
SELECT child.task_id, parent.task_id FROM tasks_app_task AS child JOIN tasks_app_task AS parent
    ON parent.id = child.id - 1 AND parent.run_id = child.run_id WHERE child.id > %(before)s
""",
)
_ARCHIVED = """
INSERT INTO tasks_app_archivedtask (id, task_id, queue_name, task_name, status, run_id, created_at, completed_at,
    last_event_id, task, attempts, events)
SELECT id, task_id, queue_name, task_name, status, md5('run' || run_id)::uuid, created_at, completed_at, 0,
    to_jsonb(task), '[]', '[]' FROM tasks_app_task AS task WHERE id <= %(archived)s
"""
_MJD = "(40587 + extract(epoch FROM absurd_now() - interval '1 s' * %(tile_sec)s * (%(images)s - n)) / 86400)"
_STRIP = "(16.1 + 6 * ((n / 280) %% 5))"
_OBSERVATIONS = f"""
INSERT INTO pipeline_app_observation (name, telescope_name, first_time_ms, declination_cdeg, start_mjd, mid_mjd,
    duration_sec, declination_deg, ra_deg, dec_deg, directory, expected_subbands, state, reason, calibrator,
    calibrator_apparent_flux_jy, role, run_id)
SELECT to_char(absurd_now() - interval '1 s' * %(tile_sec)s * (%(images)s - n), 'YYYY-MM-DD"T"HH24:MI:SS'), 'OVRO_MMA',
    n::bigint * 309000, ({_STRIP} * 100)::int, {_MJD}, {_MJD} + 0.0018, 309, {_STRIP},
    (n * 1.29)::numeric %% 360, {_STRIP},
    '/stage/dsa110', 16, CASE WHEN n %% 997 = 0 THEN 'incomplete' ELSE 'started' END,
    CASE WHEN n %% 997 = 0 THEN 'subband 3 of 16 is missing' ELSE '' END,
    CASE WHEN n %% 24 = 0 THEN (ARRAY['3C48', '3C147', '3C286'])[1 + n / 24 %% 3] ELSE '' END,
    CASE WHEN n %% 24 = 0 THEN 12.5 END, CASE WHEN n %% 24 = 0 THEN 'calibrator' ELSE 'target' END,
    md5('run' || n)::uuid
FROM generate_series(1, %(images)s) AS n ORDER BY n
"""
_FILES = """
INSERT INTO pipeline_app_subbandfile (observation_id, path, subband, freq_min_hz, freq_max_hz, n_channels, n_times,
    size_bytes, mtime_ns, state, problem)
SELECT n, '/stage/dsa110/tile-' || n || '_sb' || k || '.hdf5', k, 1300000000 + k * 11700000, 1311000000 + k * 11700000,
    48, 24, 144000000, 0, 'accepted', ''
FROM generate_series(%(images)s - %(files_of)s + 1, %(images)s) AS n, generate_series(0, 15) AS k
"""
_METRICS = """jsonb_build_object('rms_jy', 0.001, 'thermal_rms_jy', 0.0008, 'peak_jy', 0.9, 'dynamic_range', 900,
    'beam_major_arcsec', 20.0, 'beam_minor_arcsec', 14.0, 'beam_pa_deg', 30.0, 'freq_hz', 1.405e9, 'imsize_pix', 1728,
    'cell_arcsec', 6.0)"""
_PRODUCTS = f"""
INSERT INTO pipeline_app_product (task_id, run_id, attempt, task_name, observation_id, kind, path, size_bytes, checksum,
    metrics, verdict, inputs, params, versions, created_at)
SELECT task_id, md5('run' || task.run_id)::uuid, 1, task.task_name, task.run_id, made.kind,
    '/data/products/' || task.run_id || '/' || made.kind, made.size_bytes, md5(task.id::text),
    CASE WHEN made.kind = 'image' THEN {_METRICS} ELSE '{{}}' END,
    (ARRAY['pass', 'pass', 'pass', 'warn', 'fail'])[1 + task.run_id %% 5],
    jsonb_build_array('/data/products/' || task.run_id || '/calibrated-ms'), task.params, '{{"casatools": "6.7"}}',
    absurd_now() - interval '1 s' * %(tile_sec)s * (%(images)s - task.run_id)
FROM tasks_app_task AS task JOIN (VALUES ('calibrate-target', 'calibrated-ms', 800000000), ('imaging', 'image',
    12000000), ('imaging', 'preview', 900000), ('imaging', 'thumbnail', 40000), ('photometry', 'photometry', 20000),
    ('calibration-solve', 'calibration', 5000000)) AS made(stage, kind, size_bytes)
    ON made.stage = task.stage AND (made.kind <> 'calibration' OR task.run_id %% 24 = 0)
ORDER BY task.id
"""
_CALIBRATIONS = """
INSERT INTO pipeline_app_calibration (task_id, observation_id, path, telescope_name, mid_mjd, declination_deg,
    calibrator, refant, snr_median, flagged_solutions, verdict, reasons)
SELECT task_id, observation.id, path, 'OVRO_MMA', mid_mjd, declination_deg, calibrator, '5', 120, 0.1, verdict, '[]'
FROM pipeline_app_product AS product JOIN pipeline_app_observation AS observation
    ON observation.id = product.observation_id WHERE kind = 'calibration' ORDER BY product.id
"""
_MEASUREMENTS = """
INSERT INTO pipeline_app_measurement (task_id, observation_id, image_path, name, mid_mjd, ra_deg, dec_deg, freq_hz,
    flux_jy, flux_err_jy, snr, offset_arcsec, catalog_flux_jy, local_rms_jy, primary_beam, verdict, created_at)
SELECT task_id, observation.id, '/data/products/' || observation.id || '/image',
    'S' || observation.id %% 280 || '-' || k, mid_mjd, ra_deg, dec_deg + 0.01 * k, 1.405e9,
    0.1 * k * (1 + 0.01 * sin(observation.id)), 0.002, 50 * k, 0.3, 0.1 * k, 0.001, 0.9, verdict, product.created_at
FROM pipeline_app_product AS product JOIN pipeline_app_observation AS observation
    ON observation.id = product.observation_id, generate_series(1, %(fluxes)s) AS k
WHERE kind = 'photometry' ORDER BY product.id, k
"""
_SCHEDULES = """
INSERT INTO tasks_app_schedule (name, cron, time_zone, task_name, params, queue_name, priority, enabled, catch_up,
    jitter_sec, last_error, created_by)
SELECT 'schedule-' || n, '0 9 * * *', 'UTC', 'housekeeping', '{}', 'upkeep', 5, false, 'one', 0, '', 'cli:benchmark'
FROM generate_series(1, 20) AS n
"""
TASKS_A_STATEMENT = 100_000


def fill(extent: Extent) -> None:
    """Empty the tables and fill them; there are no real files behind the products."""
    execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY CASCADE")
    with_archive = extent.tasks + extent.archived
    numbers = {"tasks": with_archive, "pending": extent.pending, "images": with_archive // TASKS_A_RUN,
               "files_of": extent.files_of, "archived": extent.archived, "fluxes": FLUXES_AN_IMAGE,
               "tile_sec": extent.tile_sec,
               "before": with_archive - extent.with_history}  # fmt: skip
    Queue.objects.bulk_create([Queue(name=name) for name in QUEUES], ignore_conflicts=True)
    for statement in (_WORKERS, _SCHEDULES, _RUNS, _OBSERVATIONS, _FILES):
        execute(statement, **numbers)
    for first in range(1, with_archive + 1, TASKS_A_STATEMENT):
        last = min(first + TASKS_A_STATEMENT - 1, with_archive)
        execute(_TASKS, first=first, last=last, **numbers)
    for statement in (_PRODUCTS, _CALIBRATIONS, _MEASUREMENTS, *_HISTORY, _ARCHIVED):
        execute(statement, **numbers)
    execute("DELETE FROM tasks_app_task WHERE id <= %(archived)s", **numbers)
    execute(f"ANALYZE {', '.join(TABLES)}")


def vacuum() -> None:
    """Bring the tables into the state that autovacuum leaves them in."""
    execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}")
