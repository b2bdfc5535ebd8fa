from __future__ import annotations

import time

import pytest

from absurd_project.demo.feed import FeedListener
from absurd_project.processing.progress import Change
from tasks_app.engine import registry
from tasks_app.engine.complete import complete_task
from tests.daphne_server import serving
from tests.tasks_app.notes import NOTE, REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def note_is_registered():
    registry.register(NOTE)
    yield
    registry._specs.pop(NOTE.name)


def collect(listener: FeedListener, count: int, patience_sec: float = 15.0) -> list[Change]:
    found: list[Change] = []
    deadline = time.monotonic() + patience_sec
    while len(found) < count and time.monotonic() < deadline:
        found.extend(listener.take())
        time.sleep(0.05)
    return found


def test_it_hears_every_change_and_goes_on_after_the_web_process_was_restarted(live_environment, tmp_path):
    worker = make_worker()
    with serving(live_environment) as port:
        listener = FeedListener(port, tmp_path / "no-key")
        listener.start(patience_sec=15.0)
        task = spawn_note()
        claim = claim_one(worker)
        assert [change.status for change in collect(listener, 2)] == ["pending", "claimed"]
    complete_task(claim, {}, REPORT)
    try:
        with serving(live_environment, port=port):
            (change,) = collect(listener, 1)
            assert (change.task_id, change.status) == (task.task_id, "completed")
            assert listener.breaks >= 1
    finally:
        listener.stop()


def test_a_feed_that_is_not_there_is_given_up(tmp_path):
    with pytest.raises(TimeoutError, match="cannot be opened"):
        FeedListener(1, tmp_path / "no-key").start(patience_sec=0.5)
