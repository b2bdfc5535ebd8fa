from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks_app import registry
from tasks_app.models import Worker
from tests.tasks_app.notes import NOTE, make_worker


@pytest.fixture(autouse=True)
def note_is_registered() -> Iterator[None]:
    registry.register(NOTE)
    yield
    registry._specs.pop(NOTE.name)


@pytest.fixture
def worker(db: None) -> Worker:
    return make_worker()
