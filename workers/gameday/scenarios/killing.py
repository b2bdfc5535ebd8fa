"""Children, guardians and workers killed or frozen, by us or by their own task."""

from __future__ import annotations

import signal
from datetime import timedelta

from tasks_app.models import Task
from tasks_app.postgresql import clock
from workers.gameday import polling
from workers.gameday.drill import Drill, scenario
from workers.gameday.report import GONE_WITHIN_SEC, RETRY_WITHIN_SEC
from workers.gameday.stream import start_stream

JUST_NOW = timedelta(seconds=0.1)
"""A task that was claimed within this time has not ended before its worker is killed."""


@scenario("kill-child")
def kill_child(drill: Drill) -> None:
    """SIGKILL of a child."""
    drill.processes.start_ready()
    task = drill.spawn("sleep", {"seconds": 5})
    polling.with_progress(task)
    child, moment = polling.child_of(task), clock.now()
    child.kill()
    seconds = (polling.event(task, "retrying").created_at - moment).total_seconds()
    drill.report.recovered("the killed attempt is in the database", seconds, RETRY_WITHIN_SEC)
    polling.finished(task)
    drill.expect_course(task, "killed", "completed")
    found = polling.attempts(task)[0].signal
    drill.expect("the signal is reported", found == "SIGKILL", found)


@scenario("kill-guardian")
def kill_guardian(drill: Drill) -> None:
    """SIGKILL of a guardian with a grandchild in a session of its own."""
    drill.processes.start_ready()
    task = drill.spawn("spawn-orphan", {"seconds": 600}, max_retries=0)
    polling.with_progress(task, "orphan")
    attempt, moment = polling.last_attempt(task), clock.now()
    guardian = polling.child_of(task).parent()
    drill.expect("the child has a guardian", guardian is not None)
    if guardian is not None:
        guardian.kill()
    drill.expect_gone([attempt], GONE_WITHIN_SEC, "guardian killed")
    seconds = (polling.event(task, "failed").created_at - moment).total_seconds()
    drill.report.recovered("the killed attempt is in the database", seconds, RETRY_WITHIN_SEC)
    drill.expect_course(task, "killed")


@scenario("kill-worker")
def kill_worker(drill: Drill) -> None:
    """SIGKILL of the only worker; a web process returns its tasks, a new worker runs them."""
    drill.processes.start_web()
    worker = drill.processes.start_ready()
    tasks = [drill.spawn("sleep", {"seconds": 6}), drill.spawn("spawn-orphan", {"seconds": 6})]
    for task in tasks:
        polling.with_progress(task)
    attempts = [polling.last_attempt(task) for task in tasks]
    worker.kill()
    drill.expect_gone(attempts, GONE_WITHIN_SEC, "worker killed")
    drill.expect_back_in_queue(tasks)
    drill.processes.start()
    for task in tasks:
        polling.finished(task)
        drill.expect_course(task, "lost", "completed")


@scenario("kill-one-of-two")
def kill_one_of_two(drill: Drill) -> None:
    """SIGKILL of one of two workers under a stream of tasks; it is started again."""
    stream = start_stream(drill)
    first = drill.processes.workers[0]
    claimed = Task.objects.filter(task_id__in=drill.task_ids, status="claimed", worker=first.row)
    polling.wait_for(
        "a task just claimed by the first worker",
        lambda: claimed.filter(claimed_at__gt=clock.now() - JUST_NOW).exists(),
    )
    first.kill()
    held = list(claimed)
    drill.expect("it held tasks", bool(held), len(held))
    renewals = [polling.last_renewal(task) for task in held]
    drill.processes.start_ready()
    drill.expect_back_in_queue(held, renewals)
    stream.measure_after()
    drill.cancel_open_tasks()
    for task in held:
        drill.expect("its tasks were lost once", polling.outcomes(task)[0] == "lost", polling.outcomes(task))


@scenario("kill-all")
def kill_all(drill: Drill) -> None:
    """SIGKILL of all workers at once; a web process returns their tasks."""
    drill.processes.start_web()
    workers = drill.processes.start_all_ready(2, "--concurrency", "2")
    tasks = drill.spawn_many("sleep", [{"seconds": 6}] * 6)
    polling.wait_for("four running attempts", lambda: _running(tasks) == 4)
    for worker in workers:
        worker.popen.kill()
    running = [task for task in tasks if polling.fresh(task).status == "claimed"]
    drill.expect_gone([polling.last_attempt(task) for task in running], GONE_WITHIN_SEC, "all workers killed")
    drill.expect_back_in_queue(running)
    drill.processes.start("--concurrency", "6")
    polling.all_finished(drill.task_ids)
    for task in tasks:
        drill.expect_course(task, *(["lost", "completed"] if task in running else ["completed"]))


def _running(tasks: list[Task]) -> int:
    stored = Task.objects.filter(pk__in=[task.pk for task in tasks], status="claimed")
    return stored.exclude(progress_message="").count()


@scenario("freeze-worker")
def freeze_worker(drill: Drill) -> None:
    """SIGSTOP of a worker beyond its lease, then SIGCONT: its late completion is refused."""
    workers = {worker.label: worker for worker in drill.processes.start_all_ready(2)}
    task = drill.spawn("echo", {"value": 1, "outputs": {"image.fits": "pixels"}, "then_sleep_sec": 4.0})
    polling.child_of(task)
    first = polling.last_attempt(task)
    frozen = workers[first.worker.label if first.worker else ""]
    frozen.popen.send_signal(signal.SIGSTOP)
    try:
        drill.expect_back_in_queue([task])
        done = polling.finished(task)
    finally:
        frozen.popen.send_signal(signal.SIGCONT)
    polling.event(task, "refused")
    polling.wait_for("the refused products' removal", lambda: not polling.published_by(drill.data, first.claim_token))
    drill.expect_outcomes(task, "lost", "completed")
    # Its renewal may be refused as well as its completion, whichever it tries first.
    retried = ("spawned", "claimed", "retrying", "claimed", "completed")
    drill.expect_events(task, *retried, *["refused"] * polling.event_types(task).count("refused"))
    drill.expect("the good product stands", polling.fresh(task).result == done.result, polling.fresh(task).result)


@scenario("poison-task")
def poison_task(drill: Drill) -> None:
    """A task that kills every worker: quarantined after three."""
    drill.processes.start_web()
    poison = drill.spawn("kill-worker", max_retries=10)
    bystanders = drill.spawn_many("noop", [{}] * 20, priority=14)
    slowest = 0.0
    for death in (1, 2, 3):
        drill.processes.start()
        polling.wait_for("the death of a worker", lambda: not drill.processes.workers[-1].alive)
        renewed_at = polling.last_renewal(poison)
        event_type = ("retrying", "retrying", "failed")[death - 1]
        lost = polling.event(poison, event_type, nth=min(death, 2) if event_type == "retrying" else 1)
        slowest = max(slowest, (lost.created_at - renewed_at).total_seconds())
    drill.report.recovered("taken from the dead worker after its last renewal", slowest, drill.recovery_bound_sec)
    stored = polling.fresh(poison)
    drill.expect("it is quarantined", stored.quarantined_at is not None and stored.status == "failed", stored.status)
    drill.expect_course(poison, "lost", "lost", "lost")
    survivor = drill.processes.start()
    after = polling.finished(drill.spawn("echo"))
    drill.expect("the next worker lives and works", survivor.alive and after.status == "completed", after.status)
    polling.all_finished([task.task_id for task in bystanders])
    unharmed = Task.objects.filter(pk__in=[task.pk for task in bystanders], status="completed").count()
    drill.expect("all bystanders complete", unharmed == len(bystanders), unharmed)
