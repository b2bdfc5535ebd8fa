from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks_app import registry
from tasks_app.models import Worker
from tests.tasks_app.notes import GATHER, NOTE, make_worker


@pytest.fixture(autouse=True)
def notes_are_registered() -> Iterator[None]:
    for spec in (NOTE, GATHER):
        registry.register(spec)
    yield
    for spec in (NOTE, GATHER):
        registry._specs.pop(spec.name)


@pytest.fixture
def worker(db: None) -> Worker:
    return make_worker()
