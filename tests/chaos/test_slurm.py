"""Pilots on a real Slurm of two nodes: real CASA stages, a killed node, a preempted job, the end of an allocation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_app.calibration_choice import plan_set
from pipeline_app.ingest.register import ingest_directory
from pipeline_app.models import Measurement, Product
from pipeline_app.simulation import TINY, simulate_tile, tile_pair
from pipeline_app.simulation.presets import processing_for
from pipeline_app.stages.photometry import Position
from pipeline_app.workflows import Options, start
from tasks_app.models import Attempt, Task, TaskEvent, Worker
from tests.chaos.slurm import Cluster, has_slurm
from tests.workers.live import QUICK, ROOT, child_of, finished, outcomes, spawn_one, wait_for
from workers.models import Pilot

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.casa,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not has_slurm() and not os.environ.get("CI"), reason="Slurm is not installed: apt-get install slurm-wlm"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd and munged of a cluster with several users need root"),
]
LARGE = ("--memory-gb", "7", "--cores", "1", "--time-limit", "3600", "--drain-timeout", "8", "--wait", "0.5")
"""Room for one stage as it declares its memory, and time for its timeout."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    own = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        own.start()
        yield own
    finally:
        own.stop()


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Position]]:
    """Simulate a calibrator and a target of the smallest size; return their directory and where to measure."""
    directory = tmp_path_factory.mktemp("raw")
    specs = tile_pair(datetime(2026, 11, 24, 2, 0, tzinfo=UTC), TINY)
    _, target = [simulate_tile(directory / spec.kind, spec) for spec in specs]
    return directory, [Position(name=s.name, ra_deg=s.ra_deg, dec_deg=s.dec_deg) for s in target.sources]


class Pilots:
    """Runs `absurd_pilots` on the test's database and cluster."""

    def __init__(self, environment: dict[str, str], cluster: Cluster, directory: Path) -> None:
        self.environment, self._cluster, self._directory = environment, cluster, directory
        self._controller: subprocess.Popen[str] | None = None
        self._began = time.monotonic()

    def once(self, *options: str) -> dict[str, Any]:
        """Look once; return what was found and done."""
        done = subprocess.run(self._command("--once", "--json", *options), **self._as_usual(), timeout=120)
        assert done.returncode == 0, done.stderr + self._cluster.logs()
        return json.loads(done.stdout)

    def watch(self, *options: str) -> subprocess.Popen[str]:
        """Look until stopped."""
        command = self._command("--poll-interval", "1", *options)
        self._controller = subprocess.Popen(command, **self._as_usual())
        return self._controller

    def stop(self) -> str:
        """Stop the controller; return what it said."""
        controller, self._controller = self._controller, None
        if controller is None:
            return ""
        controller.send_signal(signal.SIGTERM)
        printed, complaint = controller.communicate(timeout=120)
        assert controller.returncode == 0, complaint
        return printed + complaint

    def jobs_of(self, pilots: list[Pilot]) -> dict[str, str]:
        states = self._cluster.jobs()
        return {pilot.native_id: states[pilot.native_id] for pilot in pilots}

    def report(self, scene: str) -> None:
        """Print the figures of a scene, for `pytest -rP`."""
        completed = Counter(TaskEvent.objects.filter(event_type="completed").values_list("task_id", flat=True))
        requeues = Attempt.objects.filter(outcome__in=("lost", "drained")).count()
        print(
            f"{scene}: jobs {Pilot.objects.count()}, tasks {Task.objects.count()}, attempts {Attempt.objects.count()}, "
            f"requeues {requeues}, duplicates {sum(n - 1 for n in completed.values())}, "
            f"seconds {time.monotonic() - self._began:.0f}"
        )
        assert set(completed.values()) <= {1}

    def _command(self, *options: str) -> list[str]:
        return [sys.executable, "manage.py", "absurd_pilots", "--directory", str(self._directory), *options]

    def _as_usual(self) -> dict[str, Any]:
        return {
            "cwd": ROOT,
            "env": self.environment,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }


@pytest.fixture
def pilots(
    live_environment: dict[str, str], cluster: Cluster, raw: tuple[Path, list[Position]], tmp_path: Path, settings: Any
) -> Iterator[Pilots]:
    settings.ABSURD_LEASE_SEC = int(QUICK["ABSURD_LEASE_SEC"]) * 2
    roots = f"{live_environment['ABSURD_DATA_ROOTS']}:{raw[0]}"
    settings.ABSURD_DATA_ROOTS = tuple(map(Path, roots.split(":")))
    environment = live_environment | QUICK | cluster.environment | {"ABSURD_DATA_ROOTS": roots}
    started = Pilots(environment, cluster, tmp_path / "pilots")
    yield started
    started.stop()
    cluster.cancel_jobs()


def test_work_submits_pilots_that_run_the_stages_and_end_when_idle(pilots, cluster, raw):
    directory, positions = raw
    dry = pilots.once("--dry-run", *LARGE)
    assert (dry["waiting"], dry["submitted"], Pilot.objects.count()) == (0, [], 0)
    chosen = Options(catalog=tuple(positions), stage_params=processing_for(TINY))
    start(plan_set(ingest_directory(directory).tiles), chosen, actor="user:test")
    pilots.watch("--max", "2", *LARGE)
    wait_for(lambda: not Task.objects.filter(status__in=("pending", "claimed")).exists(), 300)
    assert set(Task.objects.values_list("status", flat=True)) == {"completed"}, [*Task.objects.values_list("error")]
    assert Product.objects.filter(kind="image").exists() and Measurement.objects.count() >= len(positions)
    wait_for(lambda: not Pilot.objects.filter(ended_at=None).exists(), 120)
    made = list(Pilot.objects.all())
    assert {pilot.outcome for pilot in made} <= {"worked", "idle"} and "worked" in {pilot.outcome for pilot in made}
    assert set(pilots.jobs_of(made).values()) == {"COMPLETED"}
    workers = Worker.objects.all()
    assert {worker.label for worker in workers} == {pilot.name for pilot in made}
    assert len({worker.host_id for worker in workers}) == len(workers), "each allocation counts as a host"
    assert {(worker.cores, round(worker.memory_gb, 2)) for worker in workers} == {(1, 5.25)}, "of its allocation"
    assert "submitted" in pilots.stop()
    pilots.report("stages")


def test_a_killed_node_loses_nothing_and_its_tasks_run_elsewhere(pilots, cluster, raw):
    paths = sorted(map(str, (raw[0] / "target").rglob("*.hdf5")))
    tasks = [spawn_one("convert-uvh5-to-ms", {"paths": paths}) for _ in range(3)]
    pilots.watch("--max", "2", *LARGE)
    caught = wait_for(lambda: Task.objects.filter(status="claimed").select_related("worker").first(), 120)
    job = Pilot.objects.get(name=caught.worker.label).native_id
    node = cluster.job(job)["NodeList"]
    child_of(caught)
    cluster.kill_node(node)
    try:
        for task in tasks:
            assert finished(task, 240).status == "completed", task.error
        caught.refresh_from_db()
        assert outcomes(caught)[0] == "lost" and outcomes(caught)[-1] == "completed"
        assert caught.worker.label != "" and Product.objects.filter(kind="ms").count() == len(tasks)
        pilots.stop()
        pilots.report("killed node")
    finally:
        cluster.start_node(node)
        wait_for(lambda: cluster.nodes()[node] in ("idle", "mix", "alloc"), 90)


def test_a_preempted_pilot_returns_its_task_without_using_up_a_retry(pilots, cluster, raw):
    paths = sorted(map(str, (raw[0] / "target").rglob("*.hdf5")))
    slow = spawn_one("sleep", {"seconds": 40}, max_retries=0, timeout_sec=300)
    assert pilots.once("--max", "1", "--partition", "low", *LARGE)["submitted"]
    child_of(slow)
    converted = spawn_one("convert-uvh5-to-ms", {"paths": paths}, max_retries=0)
    urgent_job = ["--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 3"]
    urgent = cluster.run("sbatch", "--parsable", *urgent_job).strip()
    wait_for(lambda: cluster.jobs()[urgent] in ("RUNNING", "COMPLETING", "COMPLETED"), 90)
    slow.refresh_from_db()
    assert (slow.status, slow.retry_count, outcomes(slow)) == ("pending", 0, ["drained"])
    (pilot,) = Pilot.objects.all()
    assert finished(converted, 180).status == finished(slow, 180).status == "completed"
    assert int(cluster.job(pilot.native_id)["Restarts"]) == 1, "Slurm has requeued the same job"
    assert outcomes(slow) == ["drained", "completed"] and outcomes(converted) == ["completed"]
    assert Worker.objects.filter(label=pilot.name).count() == 2
    pilots.report("preempted job")


def test_a_pilot_drains_before_its_time_limit_and_a_restarted_controller_finds_it(pilots, cluster):
    tasks = [spawn_one("sleep", {"seconds": 1}, timeout_sec=4) for _ in range(60)]
    long = spawn_one("sleep", {"seconds": 1}, timeout_sec=3600)
    short = ("--min", "1", "--max", "1", "--time-limit", "50", "--drain-timeout", "1", "--wait", "0.1")
    first = pilots.once(*short)
    assert (len(first["submitted"]), first["unfit"]) == (1, 1)
    again = pilots.once(*short)
    assert (again["submitted"], again["running"] + again["starting"]) == ([], 1), "it is found again"
    (pilot,) = Pilot.objects.all()
    wait_for(lambda: cluster.jobs()[pilot.native_id] not in ("PENDING", "RUNNING", "COMPLETING"), 120)
    assert cluster.jobs()[pilot.native_id] == "COMPLETED", "and not TIMEOUT"
    worker = Worker.objects.get(label=pilot.name)
    assert worker.stopped_at is not None
    done = [task for task in tasks if outcomes(task)]
    assert 0 < len(done) < len(tasks) and {tuple(outcomes(task)) for task in done} == {("completed",)}
    long.refresh_from_db()
    assert (long.status, outcomes(long)) == ("pending", [])
    pilots.report("time limit")


def test_a_batch_system_that_cannot_be_reached_is_one_line(pilots, cluster, tmp_path):
    dead = (cluster.directory / "slurm.conf").read_text().replace("SlurmctldPort=", "SlurmctldPort=1 #")
    (tmp_path / "slurm.conf").write_text(dead + "MessageTimeout=2\n")
    pilots.environment = pilots.environment | {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    done = subprocess.run(pilots._command("--once"), **pilots._as_usual(), timeout=120)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "slurm cannot be reached" in done.stderr
