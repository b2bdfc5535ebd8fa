"""Which workers are forgotten, and which are still named by something."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks_app.engine import archive
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.maintenance.sweeper import Sweeper
from tasks_app.models import Attempt, Worker
from tasks_app.operations.prune import preview, prune
from tasks_app.postgresql import clock
from tests.tasks_app.finished import POLICY, days_ago
from tests.tasks_app.management.commands import json_of, output_of
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


def ended(label: str, days: float, *, lost: bool = False, **fields: object) -> Worker:
    """Return a worker that stopped, or was last heard of, so long ago."""
    moment = clock.now() - timedelta(days=days)
    stopped_at = None if lost else moment
    return make_worker(label=label, started_at=moment, heartbeat_at=moment, stopped_at=stopped_at, **fields)


def labels() -> set[str]:
    return set(Worker.objects.values_list("label", flat=True))


def forget() -> int:
    return prune(POLICY, actor="user:test").forgotten.workers


def test_workers_that_stopped_or_were_lost_long_ago_are_forgotten():
    ended("stopped", 31), ended("lost", 31, lost=True)
    ended("stopped lately", 29), ended("lost lately", 29, lost=True)
    make_worker(label="up")
    assert preview(POLICY).forgotten.workers == 2
    assert forget() == 2
    assert labels() == {"stopped lately", "lost lately", "up"}


def test_one_that_a_task_or_an_attempt_names_stays_until_these_are_archived():
    worker, twice = ended("worker-1", 60), ended("worker-2", 60)
    make_worker(label="up")
    with days_ago(40):
        done, again = spawn_note(), spawn_note()
        complete_task(claim_one(worker), {}, REPORT)
        fail_attempt(claim_one(twice), "error", "boom", REPORT)
    assert forget() == 0
    assert labels() == {"worker-1", "worker-2", "up"}
    # The first one's task has gone to the archive by now, and tells by itself who ran it.
    assert forget() == 1
    assert labels() == {"worker-2", "up"}
    (attempt,) = archive.attempts_of(done.task_id)
    assert attempt.worker.label == "worker-1"
    assert Attempt.objects.get(task_id=again.task_id).worker == twice


def test_the_last_that_served_its_queues_stays_to_be_told_of():
    ended("before", 50, queues=["night"]), ended("last", 40, queues=["night"])
    assert forget() == 1
    assert labels() == {"last"}


def test_sweeps_forget_a_few_at_a_time():
    for number in range(3):
        ended(f"worker-{number}", 40 + number)
    make_worker(label="up")
    Sweeper().sweep()
    assert labels() == {"worker-0", "up"}
    Sweeper().sweep()
    assert labels() == {"up"}


def test_the_command_counts_them_and_its_other_age_is_not_theirs():
    ended("old", 31), ended("young", 29)
    make_worker(label="up")
    assert json_of("absurd_prune", "--dry-run", "--older-than-days", 0)["forgotten"]["workers"] == 1
    assert "1 worker were deleted" in output_of("absurd_prune", "--older-than-days", 0)
    assert labels() == {"young", "up"}
