from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.live import QUICK, LiveWorkers


@pytest.fixture
def workers(live_environment: dict[str, str], tmp_path: Path, settings: Any) -> Iterator[LiveWorkers]:
    """Yield a way to start real workers on this test's database; whatever is left of them is killed at the end."""
    settings.ABSURD_LEASE_SEC = int(QUICK["ABSURD_LEASE_SEC"])  # a task gets its lease where it is spawned
    settings.ABSURD_VAR = Path(live_environment["ABSURD_VAR"])
    live = LiveWorkers(live_environment, tmp_path)
    yield live
    live.kill_all()
