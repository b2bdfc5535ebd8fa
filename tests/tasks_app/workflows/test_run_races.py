"""Two connections at once on one run: what must hold whichever wins."""

from __future__ import annotations

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.options import Join
from tasks_app.errors import OperationRefused
from tasks_app.models import Task
from tasks_app.operations.runs import cancel_run, retry_run
from tests.tasks_app.notes import event_types, make_worker
from tests.tasks_app.test_races import together
from tests.tasks_app.workflows.run_plans import (
    begin,
    break_,
    claim_all,
    diamond,
    fan,
    finish,
    finish_all,
    linear,
    state,
    task_of,
)

pytestmark = pytest.mark.django_db(transaction=True)
ALICE = {"actor": "user:alice", "reason": "race"}


def refuse_errors(outcomes: list[object]) -> None:
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []


@pytest.mark.parametrize("join", [None, Join(quorum=2)])
def test_a_join_whose_parents_end_together_fires_once(join):
    worker = make_worker()
    for _ in range(8):
        run = begin(fan(4, join))
        claims = claim_tasks(worker, limit=4)
        refuse_errors(together(*(lambda c=claim: finish(c) for claim in claims)))
        assert event_types(task_of(run, "mosaic")) == ["spawned", "released"]
        finish_all(worker)
        assert state(run).word == "completed"


def test_cancelling_a_run_while_its_tasks_complete_leaves_nothing_half_done():
    worker = make_worker()
    for _ in range(10):
        run = begin(diamond())
        finish(claim_all(worker)["top"])
        claims = claim_all(worker)
        outcomes = together(
            lambda r=run: cancel_run(r.run_id, **ALICE),
            lambda c=claims["left"]: finish(c),
            lambda c=claims["right"]: finish(c),
        )
        refuse_errors(outcomes)
        counts = outcomes[0]
        assert counts.cancelled + counts.stopping + counts.finished == 4
        # Both completed, whichever was first; the last one was cancelled, released or not, unless nobody asked in time.
        assert state(run).word == "cancelled"
        assert task_of(run, "join").status == "cancelled"
        assert Task.objects.filter(run=run, status="completed").count() == 3


def test_cancelling_and_failing_at_once_ends_all():
    worker = make_worker()
    for _ in range(8):
        run = begin(linear())
        claim = claim_all(worker)["convert"]
        refuse_errors(together(lambda r=run: cancel_run(r.run_id, **ALICE), lambda c=claim: break_(c, "invalid")))
        assert set(Task.objects.filter(run=run).values_list("status", flat=True)) <= {"failed", "cancelled"}
        assert state(run).word in ("failed", "cancelled")


def test_two_operators_who_retry_the_same_run_respawn_it_once():
    worker = make_worker()
    for _ in range(5):
        run = begin(linear())
        finish_all(worker)
        together(*[lambda r=run: retry_run(r.run_id, **ALICE, from_stage="measure")] * 2)
        now = state(run)
        # The second finds the first one's copy pending, which needs no copy and no retry.
        assert (now.total, now.superseded) == (3, 1)
        finish_all(worker)


def test_cancel_and_retry_of_the_same_run_do_not_mix():
    worker = make_worker()
    for _ in range(8):
        run = begin(diamond())
        break_(claim_all(worker)["top"])
        outcomes = together(lambda r=run: cancel_run(r.run_id, **ALICE), lambda r=run: retry_run(r.run_id, **ALICE))
        assert [o for o in outcomes if isinstance(o, Exception) and not isinstance(o, OperationRefused)] == []
        found = set(Task.objects.filter(run=run).values_list("status", flat=True))
        assert found in ({"pending"}, {"cancelled"})
        cancel_run(run.run_id, **ALICE)
