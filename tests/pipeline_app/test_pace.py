"""Tiles that are late, and how the work of the last tiles compares with their length."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline_app import pace
from pipeline_app.models import Observation, ObservationState
from pipeline_app.workflows import start
from tasks_app.models import Task, TaskStatus
from tasks_app.postgresql import clock
from tests.pipeline_app.test_workflows import CATALOG, make_tile, plan_set, stages_of

pytestmark = pytest.mark.django_db


def tile(name: str, minutes_ago: float, state: ObservationState = ObservationState.READY) -> Observation:
    row = make_tile(name).observation
    Observation.objects.filter(pk=row.pk).update(last_file_at=clock.now() - timedelta(minutes=minutes_ago), state=state)
    row.refresh_from_db()
    return row


def test_a_tile_is_late_an_hour_after_its_last_file_until_it_is_done():
    assert (pace.late_tiles("any").state, pace.tile_age_sec()) == ("ok", 0)
    late = tile("2026-10-01T06:00:00", 90)
    found = pace.late_tiles("any")
    assert found.state == "warn"
    assert found.message == f"Observation {late.name} is not done 90 min after its last file"
    assert pace.tile_age_sec() == pytest.approx(5400, abs=60)
    Observation.objects.filter(pk=late.pk).update(state=ObservationState.INCOMPLETE)
    assert pace.late_tiles("any").state == "ok"
    Observation.objects.filter(pk=late.pk).update(last_file_at=clock.now() - timedelta(days=2), state="ready")
    assert (pace.late_tiles("any").state, pace.tile_age_sec()) == ("ok", 0), "history"


def test_the_factor_is_that_of_tiles_whose_stages_have_all_completed():
    bright = make_tile("bright", flux_jy=12.0)
    start(plan_set([bright]), CATALOG, actor="cli:test")
    assert pace.real_time_factor() is None
    tasks = stages_of(bright)
    moment = clock.now()
    for task in tasks:
        ended = {"status": TaskStatus.COMPLETED, "claimed_at": moment - timedelta(seconds=60), "completed_at": moment}
        Task.objects.filter(pk=task.pk).update(**ended)
    assert pace.real_time_factor() == pytest.approx(60 * len(tasks) / 309.2)
    assert pace.tile_age_sec() == 0
    Task.objects.filter(pk=tasks[-1].pk).update(status=TaskStatus.PENDING, claimed_at=None, completed_at=None)
    assert pace.real_time_factor() is None
    assert pace.tile_age_sec() > 0
