"""State directories for servers that a test starts itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from absurd_project.local import servers


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """Yield a state directory that does not exist yet; whatever runs there at the end is stopped."""
    var = tmp_path / "v"
    yield var
    servers.purge(var)
