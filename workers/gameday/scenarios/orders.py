"""What operators do: cancel in every phase, and stop workers under load."""

from __future__ import annotations

import signal

from django.db import transaction

from tasks_app.models import Task, TaskEvent
from tasks_app.operations.tasks import cancel
from tasks_app.postgresql import clock
from workers.gameday import polling
from workers.gameday.catalogue import scenario
from workers.gameday.scenario_run import ACTOR, Game, pause
from workers.gameday.scenarios.native import expect_stopped_in_time

JUST_CLAIMED = 5
HELD_BACK_SEC = 1.0
DRAIN_BOUND_SEC = 10.0


@scenario("cancel-in-every-phase")
def cancel_in_every_phase(game: Game) -> None:
    """Cancel pending, just claimed, running, stopping and delivering."""
    pending = game.spawn("sleep", {"seconds": 5})
    game.cancel(pending)
    game.expect("pending: at once", polling.fresh(pending).status == "cancelled")
    game.expect_verbs(pending, ["spawned", "cancelled"])
    game.crew.start_ready("--concurrency", str(JUST_CLAIMED))
    _just_claimed(game)
    _running(game)
    _stopping(game)
    _delivering(game)


def _just_claimed(game: Game) -> None:
    tasks = game.spawn_many("sleep", [{"seconds": 60}] * JUST_CLAIMED)
    for task in tasks:
        polling.event(task, "claimed")
        game.cancel(task)
    for task in tasks:
        found = polling.finished(task)
        game.expect("just claimed: cancelled", found.status == "cancelled", found.status)
        game.expect_verbs(task, ["spawned", "claimed", "cancel_requested", "cancelled"])
        expect_stopped_in_time(game, task)


def _running(game: Game) -> None:
    task = game.spawn("sleep", {"seconds": 20})
    polling.with_progress(task)
    game.cancel(task)
    expect_stopped_in_time(game, polling.finished(task))
    game.expect_outcomes(task, ["cancelled"])


def _stopping(game: Game) -> None:
    """Cancel an attempt that is being stopped for another reason already, and would have been tried again."""
    task = game.spawn("hang-in-c", timeout_sec=2)
    polling.wait_for("its stop", lambda: polling.last_attempt(task).stop_asked_at)
    game.cancel(task)
    found = polling.finished(task)
    game.expect("stopping: cancelled, not retried", found.status == "cancelled", polling.event_types(task))
    expect_stopped_in_time(game, task)


def _delivering(game: Game) -> None:
    """Cancel while the worker waits to write the outcome: a lock on the row holds it back."""
    task = game.spawn("thread-sleep", {"seconds": 0.5, "steps": 1})
    polling.event(task, "claimed")
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=task.pk)
        pause(HELD_BACK_SEC)
        cancel(task.task_id, actor=ACTOR, reason="too late")
    found = polling.finished(task)
    game.expect("delivering: either, but once", found.status in ("completed", "cancelled"), polling.event_types(task))


@scenario("drain")
def drain(game: Game) -> None:
    """SIGTERM of one of two workers under load: nothing is lost, nothing costs a retry."""
    leaving, staying = game.crew.start(), game.crew.start()
    for hand in (leaving, staying):
        game.crew.wait_ready(hand)
    tasks = game.spawn_many("sleep", [{"seconds": 1, "steps": 2}] * 12) + game.spawn_many(
        "thread-sleep", [{"seconds": 0.2, "steps": 1}] * 120
    )
    mine = TaskEvent.objects.filter(task_id__in=game.task_ids, event_type="claimed", actor=f"worker:{leaving.label}")
    polling.wait_for("its share of the load", lambda: mine.count() >= 4)
    moment = clock.now()
    leaving.signal(signal.SIGTERM)
    code = leaving.wait(60)
    seconds = polling.since(moment)
    game.report.recovered("the drained worker has ended", seconds, DRAIN_BOUND_SEC)
    game.expect("it ends with code 0", code == 0, code)
    # A claim that was under way when the signal came is carried out.
    told = (
        TaskEvent.objects.filter(event_type="worker_draining", actor=f"worker:{leaving.label}").order_by("id").first()
    )
    game.expect("it says that it drains", told is not None)
    if told is not None:
        late = mine.filter(id__gt=told.id).count()
        game.expect("it claims no more", late == 0, late)
    polling.all_finished(game.task_ids)
    stored = Task.objects.filter(pk__in=[task.pk for task in tasks])
    found = set(stored.values_list("status", "retry_count"))
    game.expect("every task completes and costs no retry", found == {("completed", 0)}, found)
    started_twice = [task for task in tasks if polling.outcomes(task)[:-1] not in ([], ["drained"])]
    game.expect("only what was returned before it started has another attempt", not started_twice, started_twice)
    game.expect("it has signed off", leaving.row.stopped_at is not None)
