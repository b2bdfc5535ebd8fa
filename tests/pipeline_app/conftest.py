from __future__ import annotations

from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import Client

from tests.pipeline_app.console_rows import Night, make_nights
from tests.pipeline_app.reduced_tile import Reduced, reduced_pair
from tests.tasks_app.callers import console_client


@pytest.fixture(scope="session")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Reduced:
    """One simulated pair of tiles, reduced by the real stages."""
    return reduced_pair(tmp_path_factory)


@pytest.fixture
def nights(tmp_path: Path, settings) -> list[Night]:
    cache.clear()
    settings.ABSURD_DATA_ROOTS = [tmp_path]
    return make_nights(tmp_path)


@pytest.fixture
def viewer() -> Client:
    return console_client()
