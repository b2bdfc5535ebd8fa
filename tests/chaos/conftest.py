from __future__ import annotations

import os

import pytest

from workers.gameday.scenario_run import Terms


@pytest.fixture
def terms() -> Terms:
    """Short leases; CHAOS_FULL=1 makes outages as long as what is promised of them."""
    return Terms(full=os.environ.get("CHAOS_FULL") == "1")
