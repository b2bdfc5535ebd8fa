from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.live import LiveWorkers


@pytest.fixture
def workers(live_environment: dict[str, str], tmp_path: Path) -> Iterator[LiveWorkers]:
    """Yield a way to start real workers on this test's database; whatever is left of them is killed at the end."""
    live = LiveWorkers(live_environment, tmp_path)
    yield live
    live.kill_all()
