"""How tasks and runs end, seen from outside: real worker, real child, real database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app.engine.bindings import Binding
from tasks_app.engine.options import Join
from tasks_app.models import Task
from tasks_app.operations.runs import RetryCounts, retry_run, start
from tasks_app.workflows.plan import All, One, RunPlan
from tasks_app.workflows.state import state_of
from tests.workers.live import attempts, child_of, finished, outcomes, spawn_one

pytestmark = pytest.mark.chaos


def test_it_completes_a_task_publishes_its_products_and_shows_the_child_no_secret(workers):
    asleep = spawn_one("sleep", {"seconds": 60})
    task = spawn_one("echo", {"value": {"flux_jy": 1.5}, "outputs": {"a/table.txt": "fluxes"}})
    database_url = workers.environment["ABSURD_DATABASE_URL"]
    secrets = {"ABSURD_API_KEY": "hush-key", "SECRET_KEY": "hush-secret", "AWS_SECRET_ACCESS_KEY": "hush-aws"}
    wrong = {"ABSURD_DATABASE_URL": "postgresql://hush@localhost:9/hush"}
    workers.start("--database-url", database_url, "--concurrency", "2", **secrets, **wrong)
    child = child_of(asleep)
    for process in (child, child.parent()):
        visible = " ".join([*process.cmdline(), *(f"{name}={value}" for name, value in process.environ().items())])
        assert "hush" not in visible
        assert "postgres" not in visible
    assert child.environ()["HOME"].startswith(str(workers.data))

    finished(task)
    (attempt,) = attempts(task)
    (path,) = task.result["paths"]
    assert (task.status, task.result["value"]) == ("completed", {"flux_jy": 1.5})
    assert Path(path).read_text() == "fluxes"
    assert Path(path).relative_to(workers.data / "echo").parts[0].endswith(f".{str(attempt.claim_token)[:8]}")
    assert (attempt.outcome, attempt.exit_code) == ("completed", 0)
    assert attempt.peak_rss_bytes > 10_000_000 and attempt.cpu_sec > 0
    assert Path(attempt.log_path).is_file()
    assert not Path(attempt.directory).exists()
    assert f"task={task.task_id} attempt=1 name=echo" in workers.logs()


def test_every_way_to_fail_is_distinguished(workers):
    """One worker runs them all; what is retried and what is not shows in the number of attempts."""
    options = {"max_retries": 1}
    parent = spawn_one("echo", {"value": "not a number"})
    tasks = {
        "error": spawn_one("fail", {"message": "no such antenna"}, **options),
        "invalid": spawn_one("fail", {"failure": "invalid", "message": "not a tile"}, **options),
        "spoilt": spawn_one("sleep", {}, bindings={"seconds": Binding(task_id=parent.task_id, field="value")}),
        "no_work": spawn_one("fail", {"failure": "no_work", "message": "nothing new"}, **options),
        "exit": spawn_one("fail", {"failure": "exit"}, **options),
        "nan": spawn_one("fail", {"failure": "nan"}, max_retries=0),
        "memory": spawn_one("eat-memory", {"memory_gb": 4, "step_mb": 32}, max_retries=0),
        "killed": spawn_one("segfault", {"succeed_on_attempt": 2}, **options),
        "timeout": spawn_one("hang-in-c", {}, timeout_sec=10, max_retries=0),
    }
    workers.burst("--concurrency", "9")
    for task in tasks.values():
        task.refresh_from_db()
    seen = {name: (task.status, task.failure_class, outcomes(task)) for name, task in tasks.items()}
    assert seen == {
        "error": ("failed", "error", ["error", "error"]),
        "invalid": ("failed", "invalid", ["invalid"]),
        "spoilt": ("failed", "invalid", ["invalid"]),
        "no_work": ("completed", "no_work", ["no_work"]),
        "exit": ("failed", "error", ["error", "error"]),
        "nan": ("failed", "error", ["error"]),
        "memory": ("failed", "memory", ["memory"]),
        "killed": ("completed", "", ["killed", "completed"]),
        "timeout": ("failed", "timeout", ["timeout"]),
    }
    assert "no such antenna" in tasks["error"].error and "RuntimeError" in attempts(tasks["error"])[0].traceback
    assert "params.seconds" in tasks["spoilt"].error
    assert "result.rms_jy is nan" in tasks["nan"].error
    assert "exited with code 3" in tasks["exit"].error
    assert "more than the 0.50 GB allowed" in tasks["memory"].error
    assert attempts(tasks["killed"])[0].signal == "SIGSEGV"
    assert "Segmentation fault" in attempts(tasks["killed"])[0].log_tail
    hung = attempts(tasks["timeout"])[0]
    assert (hung.signal, "in hang_in_c" in hung.log_tail) == ("SIGKILL", True)
    assert hung.wall_sec >= 11.0  # its timeout and the grace of 1 s
    assert hung.ended_at <= hung.stop_due_at


def test_a_hang_is_distinguished_from_slow_work(workers):
    hangs = spawn_one("hang-in-c", {}, idle_timeout_sec=4, max_retries=0)
    reports = spawn_one("sleep", {"seconds": 8, "steps": 16}, idle_timeout_sec=4)
    patient = spawn_one("sleep", {"seconds": 8, "steps": 1})
    workers.burst("--concurrency", "3")
    for task in (hangs, reports, patient):
        task.refresh_from_db()
    assert (hangs.status, hangs.failure_class) == ("failed", "idle_timeout")
    assert "no progress" in hangs.error
    assert (outcomes(reports), outcomes(patient)) == (["completed"], ["completed"])


@pytest.mark.casa
def test_a_casa_task_that_logs_severe_and_returns_has_failed(workers):
    fails = spawn_one("casa-trial", {"severe": "No valid solutions for spw 0"}, max_retries=0)
    benign = spawn_one("casa-trial", {"severe": "Leap second table TAI_UTC seems out-of-date."})
    workers.burst(timeout_sec=100)
    for task in (fails, benign):
        task.refresh_from_db()
    assert (fails.status, outcomes(fails)) == ("failed", ["error"])
    assert "CASA logged SEVERE" in fails.error and "No valid solutions for spw 0" in fails.error
    assert "\tSEVERE\t" in Path(attempts(fails)[0].log_path).read_text()
    assert (benign.status, benign.result["version"].startswith("6.7")) == ("completed", True)


def test_results_of_parents_reach_their_children_through_real_processes(workers):
    plan = (
        RunPlan("mosaic")
        .stage("observe", "echo", params={"value": "tile"})
        .stage("image", "echo", fan_out=[{"outputs": {f"{n}.txt": "x"}} for n in range(3)],
               bindings={"value": One("observe", "value")})
        .stage("broken", "fail", after=["observe"], max_retries=0)
        .stage("mosaic", "echo", bindings={"value": All("image", "paths")}, after=["broken"], join=Join(quorum=3))
    )  # fmt: skip
    run = start(plan, "user:test")
    workers.burst("--concurrency", "4")
    state = state_of(run)
    assert (state.word, state.completed, state.failed) == ("completed", 5, 1)
    images = Task.objects.filter(run=run, stage="image").order_by("id")
    assert [image.result["value"] for image in images] == ["tile"] * 3
    mosaic = Task.objects.get(run=run, stage="mosaic")
    assert mosaic.result["value"] == [image.result["paths"] for image in images]

    assert retry_run(run.run_id, actor="user:test", from_stage="image") == RetryCounts(retried=1, respawned=4)
    workers.burst("--concurrency", "4")
    state = state_of(run)
    assert (state.word, state.completed, state.superseded) == ("completed", 5, 4)
    again = Task.objects.get(run=run, stage="mosaic").result["value"]
    assert len(again) == 3
    assert again != mosaic.result["value"]
