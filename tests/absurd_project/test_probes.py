"""What a service manager asks the web process."""

from __future__ import annotations

import pytest
from django.test import Client

from tasks_app.monitoring import health
from tasks_app.testing import make_task, make_worker

pytestmark = pytest.mark.django_db


def look(path: str) -> tuple[int, str]:
    health.forget()  # what another test has seen
    answer = Client(HTTP_HOST="10.0.0.7").get(path)  # none of ABSURD_HOSTS
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, answer.content.decode().strip()


def test_probes_answer_under_any_name_and_only_readiness_depends_on_health(settings):
    make_worker()
    assert look("/healthz") == look("/readyz") == (200, "healthy")
    settings.ABSURD_HEALTH = {**settings.ABSURD_HEALTH, "depth_warn": 0.0, "depth_bad": 0.0}
    make_task("noop")
    assert look("/healthz") == (200, "unhealthy")
    assert look("/readyz") == (503, "unhealthy")
