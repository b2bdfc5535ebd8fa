"""Every accepted task ends exactly once, and no refused attempt leaves a product: counted in database and on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from django.db.models import Count, Q

from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.models.task import FINISHED
from workers import cleanup
from workers.gameday.polling import NothingCame, all_finished, leftovers_below, wait_for
from workers.gameday.scenario_run import Game

SETTLE_SEC = 60.0


def settle(game: Game, patience_sec: float = SETTLE_SEC) -> None:
    """Wait for the last task to end, then fill in the report's account."""
    report, task_ids = game.report, game.task_ids
    try:
        all_finished(task_ids, patience_sec)
    except NothingCame as error:
        report.expect("every accepted task ends", False, error)
    statuses = Counter(Task.objects.filter(task_id__in=task_ids).values_list("status", flat=True))
    report.accepted = len(task_ids)
    report.ended = {status: n for status, n in sorted(statuses.items()) if status in FINISHED}
    report.expect("every accepted task has ended", sum(report.ended.values()) == len(task_ids), dict(statuses))
    report.ended_twice = _ended_twice(game)
    report.expect("no task has ended twice", report.ended_twice == 0, report.ended_twice)
    _sweep(game)
    report.refused_products = len(_refused_products(game))
    report.expect("no product of a refused attempt", report.refused_products == 0, _refused_products(game))
    missing = _missing_products(game)
    report.expect("every product of a completed task is there", not missing, missing)
    report.expect("each claim is one attempt that has ended", *_attempts_match(game))
    report.events = game.count_events()


def _ended_twice(game: Game) -> int:
    """Count the tasks whose events tell of more than one end, or of none, or with more than one completed attempt."""
    endings = Q(to_status__in=FINISHED) & ~Q(from_status__in=FINISHED)
    events = TaskEvent.objects.filter(endings, task_id__in=game.task_ids)
    twice = set(events.values("task_id").annotate(n=Count("id")).filter(n__gt=1).values_list("task_id", flat=True))
    completed = Attempt.objects.filter(task_id__in=game.task_ids, outcome="completed")
    twice |= set(completed.values("task_id").annotate(n=Count("id")).filter(n__gt=1).values_list("task_id", flat=True))
    return len(twice)


def _sweep(game: Game) -> None:
    """Let the workers' sweep do at once what it does after an hour: a worker that was killed between the renaming of an
    output and the commit has left it where nobody looks for it."""
    doomed = cleanup.sweep(game.data, old_after_sec=0.0, kept=0)
    wait_for("the end of what the sweep removes", lambda: not any(directory.exists() for directory in doomed))


def _refused_products(game: Game) -> list[str]:
    tokens = Attempt.objects.filter(task_id__in=game.task_ids).exclude(outcome="completed")
    return [
        str(path)
        for token in tokens.values_list("claim_token", flat=True)
        for path in leftovers_below(game.data, token)
    ]


def _missing_products(game: Game) -> list[str]:
    done = Task.objects.filter(task_id__in=game.task_ids, status="completed", task_name="echo")
    paths = [path for result in done.values_list("result", flat=True) for path in (result or {}).get("paths", [])]
    return [path for path in paths if not Path(path).is_file()]


def _attempts_match(game: Game) -> tuple[bool, str]:
    claims = TaskEvent.objects.filter(task_id__in=game.task_ids, event_type="claimed").count()
    made = Attempt.objects.filter(task_id__in=game.task_ids)
    open_ones = made.filter(Q(ended_at=None) | Q(outcome="")).count()
    found = f"{claims} claims, {made.count()} attempts, {open_ones} open"
    return claims == made.count() and not open_ones, found
