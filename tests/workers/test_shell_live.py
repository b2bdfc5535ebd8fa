"""Commands that follow what a real worker does, and the examples of the client's page."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks_app.models import Task, Worker
from tests.daphne_server import serving
from tests.tasks_app.management.commands import run
from tests.workers.live import LiveWorkers, finished, spawn_one, wait_for, with_progress

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r'^```python title="(?P<name>[\w.]+)"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)
KEY = "secure_random_key"


def test_spawn_waits_and_ends_as_the_task_does(workers: LiveWorkers):
    workers.start()
    done = run(workers.environment, "absurd_spawn", "echo", "value=3", "--wait", "--timeout", 60)
    assert done.returncode == 0, done.stderr
    assert "completed, attempt 1" in done.stderr.splitlines()[-1]
    printed = run(workers.environment, "absurd_spawn", "echo", "value=3", "--wait", "--json")
    assert (json.loads(printed.stdout)["status"], printed.returncode) == ("completed", 0)
    failed = run(workers.environment, "absurd_spawn", "fail", "--max-retries", 0, "--wait", "--timeout", 60)
    assert failed.returncode == 1
    assert re.search(r"task \S+ failed \(error\): ", failed.stderr.splitlines()[-1])


def test_logs_are_followed_until_the_task_has_finished(workers: LiveWorkers):
    task = spawn_one("sleep", {"seconds": 3})
    argv = [sys.executable, "manage.py", "absurd_tasks", "logs", str(task.task_id), "-f"]
    follower = subprocess.Popen(
        argv, cwd=ROOT, env=workers.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    workers.start()
    with_progress(task)
    out, talk = follower.communicate(timeout=60)
    task.refresh_from_db()
    assert (follower.returncode, task.is_finished) == (0, True), talk
    assert "attempt 1 on " in talk
    assert out == workers_log(workers, task)


def workers_log(workers: LiveWorkers, task: Task) -> str:
    return (Path(workers.environment["ABSURD_VAR"]) / f"log/attempts/{task.task_id}/1.log").read_text()


def test_an_interrupted_wait_leaves_the_task_and_exits_with_130(workers: LiveWorkers):
    argv = [sys.executable, "manage.py", "absurd_spawn", "sleep", "seconds=30", "--wait"]
    waiting = subprocess.Popen(
        argv, cwd=ROOT, env=workers.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    task = wait_for(Task.objects.first)
    time.sleep(0.5)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(60) == 130
    assert "Traceback" not in waiting.communicate()[1]
    task.refresh_from_db()
    assert task.status == "pending"


def test_a_reader_that_has_seen_enough_is_no_error(workers: LiveWorkers):
    for _ in range(3):
        spawn_one("echo", {"value": 1})
    line = f"{sys.executable} manage.py absurd_tasks list | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=workers.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (0, 141) and done.stderr == ""
    assert done.stdout.startswith("TASK")


def test_the_emergency_stop_ends_what_runs_and_the_recovery_runs_it_again(workers: LiveWorkers):
    workers.start()
    task = with_progress(spawn_one("sleep", {"seconds": 120}))
    stop = run(workers.environment, "absurd_emergency_stop", "--reason", "smoke", "--stop-running", "--yes")
    assert stop.returncode == 0, stop.stderr
    assert finished(task).status == "cancelled"
    back = run(workers.environment, "absurd_emergency_recover", "--retry-cancelled", "--reason", "no fire", "--yes")
    assert back.returncode == 0, back.stderr
    wait_for(Task.objects.filter(pk=task.pk, status="claimed", claim_epoch=2).exists)


def test_the_monitor_and_the_watch_go_on_until_they_are_interrupted(workers: LiveWorkers):
    url = workers.environment.pop("ABSURD_DATABASE_URL")
    guide = ["absurd_monitor", "--database-url", url, "--queue-name", "dsa110-pipeline", "--interval", "0.3"]
    watch = ["absurd_stats", "--watch", "0.3", "--json"]
    for arguments, wanted in ((guide, 8), (watch, 2)):
        environment = workers.environment | ({} if arguments is guide else {"ABSURD_DATABASE_URL": url})
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        lines = [process.stdout.readline() for _ in range(wanted)]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        process.stdout.close()
        if arguments is guide:
            assert [line.split("] ")[1].split(":")[0] for line in lines] == 2 * [
                "Queue Health",
                "Throughput",
                "Queue Depth",
                "Workers",
            ]
        else:
            assert [json.loads(line)["queues"][0]["total"] for line in lines] == [0, 0]


def test_a_worker_ordered_to_drain_ends(workers: LiveWorkers):
    process = workers.start()
    wait_for(Worker.objects.filter(label="worker-1").exists)
    done = run(workers.environment, "absurd_workers", "drain", "worker-1", "--reason", "host goes down")
    assert done.returncode == 0, done.stderr
    assert process.wait(30) == 0


def test_the_examples_of_the_clients_page_run(workers: LiveWorkers, tmp_path: Path):
    page = (ROOT / "docs" / "client.md").read_text()
    examples = {found["name"]: found["code"] for found in EXAMPLE.finditer(page)}
    environment = {**workers.environment, "ABSURD_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    printed = {}
    workers.start()
    with serving(environment) as port:
        for name, code in examples.items():
            script = tmp_path / name
            script.write_text(code.replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
            done = subprocess.run(
                [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=90
            )
            assert done.returncode == 0, f"{name}: {done.stderr}"
            printed[name] = done.stdout.splitlines()
    assert printed["spawn_and_wait.py"] == ["completed 42"]
    assert printed["look_and_act.py"][-1] in ("healthy", "degraded")
    assert printed["look_and_act.py"] == [
        "3 pending of 3",
        *["invalid_transition cancelled"] * 3,
        printed["look_and_act.py"][-1],
    ]
    assert printed["follow.py"][0] == "pending" and printed["follow.py"][-1] == "completed"


def test_every_command_for_operators_is_on_the_shells_page():
    page = (ROOT / "docs" / "shell.md").read_text()
    commands = {path.stem for path in (ROOT / "tasks_app/management/commands").glob("absurd_*.py")}
    assert len(commands) > 15
    assert {name for name in commands if f"`{name}" not in page and f"{name}`" not in page} == set()
