"""Real workers in processes of their own, and short ways to spawn, wait and look."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from tasks_app.engine.claim import Claim
from tasks_app.engine.spawn import NewTask, spawn
from tasks_app.models import Attempt, Task, TaskEvent, Worker
from workers.admission import Admission

ROOT = Path(__file__).resolve().parents[2]
QUICK = {
    "ABSURD_LEASE_SEC": "2",
    "ABSURD_BACKOFF_BASE_SEC": "0.5",
    "ABSURD_STOP_GRACE_SEC": "1",
    "ABSURD_WORKER_POLL_INTERVAL": "0.1",
    "ABSURD_DIAGNOSTICS": "true",
}


class LiveWorkers:
    """Starts workers and remembers them."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.environment = environment | QUICK
        self.data = Path(environment["ABSURD_DATA_ROOTS"])
        self._directory = directory
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str, log_fd: int | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker; it logs into a file, or to `log_fd`."""
        label = f"worker-{len(self.started) + 1}"
        with self.log_of(label).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "runworker", "--worker-id", label, *options],
                cwd=ROOT,
                env=self.environment | environment,
                stdout=log if log_fd is None else log_fd,
                stderr=log if log_fd is None else log_fd,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def running(
        self, *options: str, task: tuple[str, dict[str, Any]] = ("sleep", {"seconds": 300}), **limits: Any
    ) -> tuple[subprocess.Popen[bytes], Task]:
        """Start a worker on a task, by default a long sleep; return both once the task has reported progress."""
        spawned = spawn_one(*task, **limits)
        worker = self.start(*options)
        return worker, with_progress(spawned)

    def burst(self, *options: str, timeout_sec: float = 60) -> str:
        """Run a worker until nothing is left to do; return what it logged."""
        worker = self.start("--burst", *options)
        assert worker.wait(timeout_sec) == 0, self.logs()
        return self.log_of(f"worker-{len(self.started)}").read_text()

    def log_of(self, label: str) -> Path:
        return self._directory / f"{label}.log"

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self._directory.glob("worker-*.log")))

    def kill_all(self) -> None:
        """Kill the workers that still run, and wait for their guardians to have ended everything."""
        left = [psutil.Process(worker.pid) for worker in self.started if worker.poll() is None]
        trees = [descendant for worker in left for descendant in worker.children(recursive=True)]
        for worker in self.started:
            worker.kill()
            worker.wait()
        psutil.wait_procs(trees, timeout=60)


def claim_for(worker: Worker, slots: int) -> list[Claim]:
    """Claim as the worker's process would, without reserving room for what has waited long."""
    admission = Admission(ROOT)
    admission._consider_at = float("inf")
    return admission.claim(worker, slots=slots)


def spawn_one(task_name: str, params: dict[str, Any] | None = None, **options: Any) -> Task:
    return spawn(NewTask.of(task_name=task_name, params=params or {}, **options), actor="user:test")


def wait_for(look: Callable[[], Any], timeout_sec: float = 60) -> Any:
    """Return what `look` finds as soon as it finds something."""
    deadline = time.monotonic() + timeout_sec
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing came of it within {timeout_sec} s"
        time.sleep(0.02)
    return found


def finished(task: Task, timeout_sec: float = 60) -> Task:
    """Return the task as soon as it has reached a terminal status."""

    def look() -> Task | None:
        task.refresh_from_db()
        return task if task.is_finished else None

    return wait_for(look, timeout_sec)


def with_progress(task: Task) -> Task:
    """Return the task as soon as its attempt has reported progress."""

    def look() -> Task | None:
        task.refresh_from_db()
        assert not task.is_finished, f"it has ended before its progress was seen: {task.status}"
        return task if task.progress_message else None

    return wait_for(look)


def attempts(task: Task) -> list[Attempt]:
    return list(Attempt.objects.filter(task_id=task.task_id).order_by("number"))


def outcomes(task: Task) -> list[str]:
    return [attempt.outcome for attempt in attempts(task)]


def event_types(task_id: UUID) -> list[str]:
    return list(TaskEvent.objects.filter(task_id=task_id).order_by("id").values_list("event_type", flat=True))


def child_of(task: Task) -> psutil.Process:
    """Return the process in which the task's attempt runs."""

    def look() -> psutil.Process | None:
        mark = str(Task.objects.get(pk=task.pk).claim_token)
        for process in psutil.process_iter():
            try:
                if process.environ().get("ABSURD_ATTEMPT") == mark and "workers.process.child" in process.cmdline():
                    return process
            except psutil.Error:
                continue
        return None

    return wait_for(look)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
