from __future__ import annotations

import os

import pytest

from workers.gameday.game import Terms


@pytest.fixture
def terms() -> Terms:
    """Short leases; CHAOS_FULL=1 plays what is endurance at full length."""
    return Terms(full=os.environ.get("CHAOS_FULL") == "1")
