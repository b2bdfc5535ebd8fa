"""The context of a handler that runs in the test's own process."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tasks_app.engine.handler import DirectoryContext

NOBODY = "00000000-0000-0000-0000-000000000000"


class LocalContext(DirectoryContext):
    """A context for calling a handler directly: its products are published where they are written."""

    def __init__(
        self,
        directory: Path,
        *,
        task_name: str = "test",
        data_roots: tuple[Path, ...] = (),
        task_id: str = NOBODY,
        attempt: int = 1,
        cores: int = 1,
        memory_gb: float = 1.0,
    ) -> None:
        super().__init__(
            attempt_dir=directory,
            published_dir=(directory / "products").resolve(),
            task_id=task_id,
            attempt=attempt,
            task_name=task_name,
            data_roots=data_roots or (directory,),
            cores=cores,
            memory_gb=memory_gb,
        )
        self.reported: list[tuple[float | None, str]] = []
        """What the handler said of its progress: fraction and message."""
        for needed in (self.products_dir, self.scratch_dir):
            needed.mkdir(parents=True, exist_ok=True)

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        self.reported.append((fraction, message))
        super().progress(fraction, message, **metrics)


_numbers = itertools.count(1)


def fresh_directory() -> Path:
    """Return a directory of its own that lasts as long as the process."""
    return _directory_of_the_process() / str(next(_numbers))


@cache
def _directory_of_the_process() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="absurd-testing-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
