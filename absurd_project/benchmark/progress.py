"""How far the benchmark is: a bar a part on a terminal, a line a part elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

# Often enough to be seen moving; each drawing takes time from what is measured.
DRAWN_A_SECOND = 2


Step = Callable[[], None]


class Progress:
    """Shows the parts of the benchmark one after another."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextlib.contextmanager
    def part(self, name: str, steps: int) -> Iterator[Step]:
        """Show a part while it lasts; call what is yielded after each of its steps."""
        if not self.console.is_terminal:
            began = time.monotonic()
            yield lambda: None
            self.console.print(f"{name}: {time.monotonic() - began:.0f} s", highlight=False)
            return
        columns = (
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=self.console, refresh_per_second=DRAWN_A_SECOND) as bars:
            task = bars.add_task(name, total=steps)
            yield lambda: bars.advance(task)
