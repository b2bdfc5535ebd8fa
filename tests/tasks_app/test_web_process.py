from __future__ import annotations

import time
from datetime import timedelta

import pytest

from tasks_app.models import Task
from tasks_app.postgresql import clock
from tests.daphne_server import serving
from tests.tasks_app.notes import spawn_note

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_web_process_sweeps_by_itself(live_environment):
    overdue = spawn_note(expires_at=clock.now() + timedelta(seconds=0.5))
    due = spawn_note(scheduled_at=clock.now() + timedelta(seconds=0.5))
    with serving(live_environment):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if Task.objects.get(pk=overdue.pk).status == "failed" and Task.objects.get(pk=due.pk).hold == 0:
                return
            time.sleep(0.1)
    pytest.fail("an expired task was not failed, or a due one not released, within 10 s")
