from __future__ import annotations

import pytest

from tests.pipeline_app.reduced_tile import Reduced, reduced_pair


@pytest.fixture(scope="session")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Reduced:
    """One simulated pair of tiles, reduced by the real stages."""
    return reduced_pair(tmp_path_factory)
