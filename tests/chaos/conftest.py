from __future__ import annotations

import os

import pytest

from workers.gameday.drill import Options


@pytest.fixture
def options() -> Options:
    """Short leases; CHAOS_FULL=1 makes outages as long as what is promised of them."""
    return Options(full=os.environ.get("CHAOS_FULL") == "1")
