"""What other code needs to test its tasks."""

from __future__ import annotations

from pathlib import Path

from tasks_app.handler import DirectoryContext


class LocalContext(DirectoryContext):
    """A context for calling a handler directly: its products are published where they are written."""

    def __init__(self, directory: Path, *, task_name: str = "test", data_roots: tuple[Path, ...] = ()) -> None:
        super().__init__(
            attempt_dir=directory,
            published_dir=(directory / "products").resolve(),
            task_id="00000000-0000-0000-0000-000000000000",
            attempt=1,
            task_name=task_name,
            data_roots=data_roots or (directory,),
        )
        for needed in (self.products_dir, self.scratch_dir):
            needed.mkdir(parents=True, exist_ok=True)
