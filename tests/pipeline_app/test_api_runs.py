from __future__ import annotations

import pytest

from tasks_app.models import Run, Task
from tests.pipeline_app.test_workflows import CALIBRATOR_STAGES, make_tile
from tests.tasks_app.callers import Caller, make_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "spawn"))


def test_the_standard_pipeline_is_begun_by_the_observations_id(api):
    tile = make_tile("bright", flux_jy=12.0)
    params = {"observation_id": tile.observation.pk, "stage_params": {"imaging": {"niter": 50}}}
    begun = api.post("runs", {"workflow": "standard-pipeline", "params": params})
    assert (begun.status_code, begun.body["label"], begun.body["created_by"]) == (201, "bright", "key:ingest")
    tile.observation.refresh_from_db()
    assert str(tile.observation.run_id) == begun.body["run_id"]
    tasks = {task.stage: task for task in Task.objects.all()}
    assert set(tasks) <= set(CALIBRATOR_STAGES)
    assert tasks["imaging"].params == {"niter": 50}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"observation_id": 0}, "params.observation_id"),
        ({"observation_id": 10**18}, "params.observation_id"),
        ({}, "params.observation_id"),
        ({"observation_id": None, "stage_params": {"imagign": {}}}, "params.stage_params"),
        ({"observation_id": None, "stage_params": {"imaging": {"niter": "many"}}}, "params.niter"),
    ],
    ids=["zero", "unknown", "absent", "stage", "stage-param"],
)
def test_what_the_standard_pipeline_cannot_use_is_refused_by_its_path(api, params, path):
    tile = make_tile("bright", flux_jy=12.0)
    if "observation_id" in params and params["observation_id"] is None:
        params = {**params, "observation_id": tile.observation.pk}
    response = api.post("runs", {"workflow": "standard-pipeline", "params": params})
    assert (response.status_code, [fault["path"] for fault in response.body["errors"]]) == (422, [path])
    assert not Run.objects.exists()


def test_an_observation_without_a_calibrator_is_not_begun(api):
    params = {"observation_id": make_tile("faint").observation.pk}
    response = api.post("runs", {"workflow": "standard-pipeline", "params": params})
    assert response.status_code == 422
    assert "no calibrator" in response.body["detail"]
