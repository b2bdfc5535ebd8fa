from __future__ import annotations

import pytest
from django.urls import reverse

from pipeline_app.models import Calibration, Observation, ObservationState, Product
from pipeline_app.workflows import Plan, start
from tasks_app.admin import display
from tests.pipeline_app.test_records import finish_next
from tests.pipeline_app.test_workflows import CATALOG, make_tile
from tests.tasks_app.callers import console_client
from tests.tasks_app.notes import make_worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def finished_run() -> Observation:
    tile = make_tile("2026-10-01T06:00:00", flux_jy=12.0)
    start([Plan.calibrator(tile)], CATALOG, actor="cli:test")
    worker = make_worker()
    image = {"kind": "image", "path": "/data/i.fits", "metrics": {"rms_jy": 0.004}, "verdict": "pass"}
    for _ in range(3):
        finish_next(worker)
    finish_next(worker, [image])
    finish_next(worker)
    finish_next(worker)
    return tile.observation


@pytest.mark.parametrize("model", [Observation, Product, Calibration])
def test_a_viewer_sees_every_list_and_page_and_no_form(finished_run, model):
    client, name = console_client("Viewer"), model._meta.model_name
    row = model.objects.first()
    for address in (
        reverse(f"admin:pipeline_app_{name}_changelist"),
        reverse(f"admin:pipeline_app_{name}_change", args=[row.pk]),
    ):
        response = client.get(address)
        assert response.status_code == 200
        assert b'name="_save"' not in response.content
    task_id = getattr(row, "task_id", None)
    if task_id is not None:
        assert reverse("admin:tasks_app_task_change", args=[task_id]).encode() in response.content


def test_the_list_of_observations_tells_how_far_each_is(finished_run):
    text = console_client("Viewer").get(reverse("admin:pipeline_app_observation_changelist")).content.decode()
    for part in ("2026-10-01T06:00:00", "2 of 16", "6 " + display.pill("completed"), "3C454.3, 12.00 Jy", "+16.10°"):
        assert part in text


@pytest.mark.parametrize(("group", "state"), [("Operator", ObservationState.READY), ("Viewer", "incomplete")])
def test_only_an_operator_may_release_an_incomplete_tile(group, state):
    observation = make_tile("2026-10-01T06:00:00").observation
    Observation.objects.update(state=ObservationState.INCOMPLETE)
    chosen = {"action": "release_incomplete", "_selected_action": [observation.pk]}
    console_client(group).post(reverse("admin:pipeline_app_observation_changelist"), chosen)
    observation.refresh_from_db()
    assert observation.state == state
