from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pydantic import BaseModel, Field

from tasks_app.admin.help import FAILURES, STATES
from tasks_app.admin.task_states import STATES as LISTED
from tasks_app.engine import registry
from tasks_app.engine.move import LEGAL
from tasks_app.models import TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.testing import registered
from tests.tasks_app.callers import make_user, queries_of_health

pytestmark = pytest.mark.django_db
QUERIES_MOST = 15


class OddParams(BaseModel):
    settle_sec: float = Field(gt=0, le=90, description="<b>How</b> long to wait")
    cell_arcsec: float | None = None
    kinds: list[str] = Field(default=["a"])


ODD = registry.TaskSpec(
    name="odd-stage",
    handler="nowhere:run",
    params_model=OddParams,
    description="An <i>odd</i> stage",
    timeout_sec=5400,
    memory_gb=2.5,
    cores=3,
)


@pytest.fixture
def viewer() -> Client:
    client = Client()
    client.force_login(make_user("vera", "Viewer"))
    return client


def test_every_word_is_explained():
    assert set(STATES) == set(LISTED)
    assert set(FAILURES) == set(FailureClass.values)


def test_the_moves_are_those_of_the_engine(viewer):
    text = viewer.get(reverse("admin:page_help")).content.decode()
    for a in TaskStatus.values:
        for b in TaskStatus.values:
            cell = text.split(f'data-move="{a}-{b}">')[1].split("</td>")[0]
            assert ("legal" in cell) == ((a, b) in LEGAL), (a, b)


def test_the_catalogue_is_that_of_the_registry_with_units_bounds_and_limits(viewer):
    with registered(ODD):
        of_health = queries_of_health()
        with CaptureQueriesContext(connection) as queries:
            text = viewer.get(reverse("admin:page_help")).content.decode()
        for name in registry.names():
            assert f'id="task-{name}"' in text
    assert len(queries) - of_health <= QUERIES_MOST
    entry = text.split('id="task-odd-stage"')[1].split("</details>")[0]
    limits = ("1 h 30 min", "2.5 GB", "cores 3")
    params = ("number, &gt; 0, ≤ 90", "<td>s</td>", "<td>arcsec</td>", "number or null", "list of string", "required")
    for part in ("An &lt;i&gt;odd&lt;/i&gt; stage", "&lt;b&gt;How&lt;/b&gt;", *limits, *params):
        assert part in entry, part
    assert "standard-pipeline" in text


def test_nobody_without_the_permission_reads_it():
    client = Client()
    client.force_login(make_user("nemo"))
    assert client.get(reverse("admin:page_help")).status_code == 403
