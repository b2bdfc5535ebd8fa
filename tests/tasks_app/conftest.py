from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks_app.models import Worker
from tasks_app.monitoring import health
from tasks_app.testing import make_worker, registered
from tests.tasks_app.notes import GATHER, NOTE


@pytest.fixture(autouse=True)
def notes_are_registered() -> Iterator[None]:
    with registered(NOTE, GATHER):
        yield


@pytest.fixture(autouse=True)
def health_is_fresh() -> None:
    health.forget()


@pytest.fixture
def worker(db: None) -> Worker:
    return make_worker()
