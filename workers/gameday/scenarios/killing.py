"""Children, guardians and workers killed or frozen, by us or by their own task."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta

from tasks_app.models import Task
from tasks_app.postgresql import clock
from workers.gameday import polling
from workers.gameday.catalogue import scenario
from workers.gameday.scenario_run import Game
from workers.gameday.stream import Stream
from workers.gameday.targets import GONE_WITHIN_SEC, RETRY_WITHIN_SEC

JUST_NOW = timedelta(seconds=0.1)
"""What was claimed so short a time ago will not have ended before its worker is killed."""
TRIED_AGAIN = ("spawned", "claimed", "retrying", "claimed", "completed")


def renewals_of(tasks: list[Task]) -> list[datetime]:
    """Return when each task's lease was last renewed."""
    return [polling.last_renewal(task) for task in tasks]


@scenario("kill-child")
def kill_child(game: Game) -> None:
    """SIGKILL of a child."""
    game.crew.start_ready()
    task = game.spawn("sleep", {"seconds": 5})
    polling.with_progress(task)
    child, moment = polling.child_of(task), clock.now()
    child.kill()
    seconds = (polling.event(task, "retrying").created_at - moment).total_seconds()
    game.report.recovered("the killed attempt is in the database", seconds, RETRY_WITHIN_SEC)
    polling.finished(task)
    game.expect_outcomes(task, ["killed", "completed"])
    game.expect_verbs(task, TRIED_AGAIN)
    game.expect(
        "the signal is reported", polling.attempts(task)[0].signal == "SIGKILL", polling.attempts(task)[0].signal
    )


@scenario("kill-guardian")
def kill_guardian(game: Game) -> None:
    """SIGKILL of a guardian with a grandchild in a session of its own."""
    game.crew.start_ready()
    task = game.spawn("spawn-orphan", {"seconds": 600}, max_retries=0)
    polling.with_progress(task, "orphan")
    attempt, moment = polling.last_attempt(task), clock.now()
    guardian = polling.child_of(task).parent()
    game.expect("the child has a guardian", guardian is not None)
    if guardian is not None:
        guardian.kill()
    game.expect_gone([attempt], GONE_WITHIN_SEC, "guardian killed")
    seconds = (polling.event(task, "failed").created_at - moment).total_seconds()
    game.report.recovered("the killed attempt is in the database", seconds, RETRY_WITHIN_SEC)
    game.expect_outcomes(task, ["killed"])
    game.expect_verbs(task, ["spawned", "claimed", "failed"])


@scenario("kill-worker")
def kill_worker(game: Game) -> None:
    """SIGKILL of the only worker; a web process returns its tasks, a new worker runs them."""
    game.crew.start_web()
    worker = game.crew.start_ready()
    tasks = [game.spawn("sleep", {"seconds": 6}), game.spawn("spawn-orphan", {"seconds": 6})]
    for task in tasks:
        polling.with_progress(task)
    attempts = [polling.last_attempt(task) for task in tasks]
    worker.kill()
    game.expect_gone(attempts, GONE_WITHIN_SEC, "worker killed")
    game.expect_back_in_queue(tasks, renewals_of(tasks))
    game.crew.start()
    for task in tasks:
        polling.finished(task)
        game.expect_outcomes(task, ["lost", "completed"])
        game.expect_verbs(task, TRIED_AGAIN)


@scenario("kill-one-of-two")
def kill_one_of_two(game: Game) -> None:
    """SIGKILL of one of two workers under a stream of tasks; it is started again."""
    first, _ = game.crew.start(), game.crew.start()
    for hand in game.crew.hands:
        game.crew.wait_ready(hand)
    stream = Stream(game)
    stream.watch_before()
    claimed = Task.objects.filter(task_id__in=game.task_ids, status="claimed", worker=first.row)
    polling.wait_for("a task in its hands", lambda: claimed.filter(claimed_at__gt=clock.now() - JUST_NOW).exists())
    first.kill()
    held = list(claimed)
    game.expect("it held tasks", bool(held), len(held))
    renewals = renewals_of(held)
    game.crew.start_ready()
    game.expect_back_in_queue(held, renewals)
    stream.watch_after()
    stream.end()
    for task in held:
        game.expect("its tasks were lost once", polling.outcomes(task)[0] == "lost", polling.outcomes(task))


@scenario("kill-all")
def kill_all(game: Game) -> None:
    """SIGKILL of all workers at once; a web process returns their tasks."""
    game.crew.start_web()
    workers = [game.crew.start("--concurrency", "2"), game.crew.start("--concurrency", "2")]
    for worker in workers:
        game.crew.wait_ready(worker)
    tasks = game.spawn_many("sleep", [{"seconds": 6}] * 6)
    polling.wait_for("four running attempts", lambda: _running(tasks) == 4)
    for worker in workers:
        worker.popen.kill()
    running = [task for task in tasks if polling.fresh(task).status == "claimed"]
    game.expect_gone([polling.last_attempt(task) for task in running], GONE_WITHIN_SEC, "all workers killed")
    game.expect_back_in_queue(running, renewals_of(running))
    game.crew.start("--concurrency", "6")
    polling.all_finished(game.task_ids)
    for task in tasks:
        game.expect_outcomes(task, ["lost", "completed"] if task in running else ["completed"])


def _running(tasks: list[Task]) -> int:
    stored = Task.objects.filter(pk__in=[task.pk for task in tasks], status="claimed")
    return stored.exclude(progress_message="").count()


@scenario("freeze-worker")
def freeze_worker(game: Game) -> None:
    """SIGSTOP of a worker beyond its lease, then SIGCONT: its late completion is refused."""
    workers = {hand.label: hand for hand in (game.crew.start(), game.crew.start())}
    for hand in workers.values():
        game.crew.wait_ready(hand)
    task = game.spawn("echo", {"value": 1, "outputs": {"image.fits": "pixels"}, "then_sleep_sec": 4.0})
    polling.child_of(task)
    first = polling.last_attempt(task)
    frozen = workers[first.worker.label if first.worker else ""]
    frozen.signal(signal.SIGSTOP)
    try:
        game.expect_back_in_queue([task], renewals_of([task]))
        done = polling.finished(task)
    finally:
        frozen.signal(signal.SIGCONT)
    polling.event(task, "refused")
    polling.wait_for("the refused products' removal", lambda: not polling.leftovers_below(game.data, first.claim_token))
    game.expect_outcomes(task, ["lost", "completed"])
    # Its renewal may be refused as well as its completion, whichever it tries first.
    game.expect_verbs(task, [*TRIED_AGAIN, *["refused"] * polling.event_types(task).count("refused")])
    game.expect("the good product stands", polling.fresh(task).result == done.result, polling.fresh(task).result)


@scenario("poison-task")
def poison_task(game: Game) -> None:
    """A task that kills every worker: quarantined after three."""
    game.crew.start_web()
    poison = game.spawn("kill-worker", max_retries=10)
    bystanders = game.spawn_many("noop", [{}] * 20, priority=14)
    slowest = 0.0
    for death in (1, 2, 3):
        game.crew.start()
        polling.wait_for("the death of a worker", lambda: not game.crew.hands[-1].alive)
        renewed_at = polling.last_renewal(poison)
        event_type = ("retrying", "retrying", "failed")[death - 1]
        lost = polling.event(poison, event_type, nth=min(death, 2) if event_type == "retrying" else 1)
        slowest = max(slowest, (lost.created_at - renewed_at).total_seconds())
    game.report.recovered("taken from the dead worker after its last renewal", slowest, game.recovery_bound_sec)
    stored = polling.fresh(poison)
    game.expect("it is quarantined", stored.quarantined_at is not None and stored.status == "failed", stored.status)
    game.expect_outcomes(poison, ["lost", "lost", "lost"])
    game.expect_verbs(poison, ["spawned", "claimed", "retrying", "claimed", "retrying", "claimed", "failed"])
    survivor = game.crew.start()
    after = polling.finished(game.spawn("echo"))
    game.expect("the next worker lives and works", survivor.alive and after.status == "completed", after.status)
    polling.all_finished([task.task_id for task in bystanders])
    unharmed = Task.objects.filter(pk__in=[task.pk for task in bystanders], status="completed").count()
    game.expect("all bystanders complete", unharmed == len(bystanders), unharmed)
