from __future__ import annotations

import io
from uuid import uuid4

import pytest

from absurd_project.processing import report
from absurd_project.processing.progress import PlainDisplay
from absurd_project.processing.serving import Serving
from absurd_project.processing.session import Session
from pipeline_app.ingest.register import Ingested
from pipeline_app.workflows import Options
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Task, Worker
from tests.pipeline_app.test_records import RESULTS, finish_next
from tests.pipeline_app.test_workflows import CALIBRATOR_STAGES, CATALOG, make_tile
from tests.tasks_app.notes import REPORT, make_worker

pytestmark = pytest.mark.django_db(transaction=True)
N_TASKS = len(CALIBRATOR_STAGES)


@pytest.fixture(autouse=True)
def no_retries(settings) -> None:
    settings.ABSURD_MAX_RETRIES = 0


@pytest.fixture
def worker(db) -> Worker:
    """A worker that serves the queue, as far as anyone can see: the test acts for it."""
    return make_worker(heartbeat_sec=600)


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def session(screen) -> Session:
    found = Ingested(tiles=[make_tile("bright", flux_jy=12.0)])
    session = Session(found=found, display=PlainDisplay(screen), actor="cli:test")
    session.spawn(CATALOG)
    return session


def wait(session: Session, tmp_path, *, interrupted=lambda: False, limit_sec: float | None = 30.0) -> None:
    serving = Serving("dsa110-pipeline", var=tmp_path)
    session.wait(serving.poll, interrupted=interrupted, limit_sec=limit_sec)
    assert not serving.is_own


def statuses(session: Session) -> list[str]:
    return [task.status for task in session.tasks()]


def test_it_ends_well_when_every_task_has_completed(session, worker, tmp_path, screen):
    for _ in range(N_TASKS):
        finish_next(worker)
    wait(session, tmp_path)
    assert session.ok(tasks_only=False) and session.trouble == ""
    assert "photometry" in screen.getvalue() and "completed in" in screen.getvalue()


def test_fluxes_with_the_verdict_fail_are_no_success_unless_only_tasks_count(session, worker, tmp_path, screen):
    for _ in range(N_TASKS - 1):
        finish_next(worker)
    (claim,) = claim_tasks(worker, limit=1)
    refused = {"verdict": "fail", "reasons": ["imaging: uncalibrated"]}
    complete_task(claim, RESULTS["photometry"] | refused, REPORT, products=[])
    wait(session, tmp_path)
    assert (session.ok(tasks_only=False), session.ok(tasks_only=True)) == (False, True)
    made = report.build(session.runs, session.found, directory=tmp_path, ok=False)
    assert (made["tasks_ok"], made["science_ok"]) == (True, False)
    assert made["failed_verdicts"] == ["bright photometry: imaging: uncalibrated"]
    report.print_report(made, screen)
    assert "a verdict is fail" in screen.getvalue() and "photometry: imaging: uncalibrated" in screen.getvalue()


def test_it_does_not_wait_for_tasks_that_nobody_will_release(session, worker, tmp_path):
    (claim,) = claim_tasks(worker, limit=1)
    fail_attempt(claim, "error", "disk full", REPORT)
    wait(session, tmp_path, limit_sec=None)
    assert not session.ok(tasks_only=True) and "depend on has failed" in session.trouble
    assert statuses(session) == ["failed", *["cancelled"] * (N_TASKS - 1)]


def test_tasks_condemned_by_an_invalid_parent_end_it_too(session, worker, tmp_path, screen):
    (claim,) = claim_tasks(worker, limit=1)
    fail_attempt(claim, "invalid", "no such file", REPORT)
    wait(session, tmp_path, limit_sec=None)
    assert statuses(session) == ["failed"] * N_TASKS and session.trouble == ""
    assert "failed invalid: no such file" in screen.getvalue()


def test_time_that_is_up_cancels_the_rest(session, worker, tmp_path):
    finish_next(worker)
    wait(session, tmp_path, limit_sec=0.0)
    assert session.trouble == "not finished after 0 s"
    assert statuses(session) == ["completed", *["cancelled"] * (N_TASKS - 1)]
    assert Task.objects.filter(status="cancelled").count() == N_TASKS - 1


def test_other_work_in_the_queue_is_left_alone(session, worker, tmp_path, screen):
    other = Session(
        found=Ingested(tiles=[make_tile("other", mid_mjd=61320.0, flux_jy=9.0)]),
        display=PlainDisplay(screen),
        actor="cli:other",
    )
    other.spawn(Options(queue_name=f"q-{uuid4().hex[:6]}"))
    wait(session, tmp_path, interrupted=lambda: True)
    assert set(statuses(session)) == {"cancelled"} and set(statuses(other)) == {"pending"}
    assert "other" not in screen.getvalue()
