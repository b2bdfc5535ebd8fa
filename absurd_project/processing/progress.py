"""Progress of tiles through their stages: read from the committed events, shown as a table or as plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TextIO
from uuid import UUID

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from tasks_app.engine.events import readable_limit
from tasks_app.management.output import write_line
from tasks_app.management.printing import SafeConsole
from tasks_app.models import Task, TaskEvent
from tasks_app.models.task import FINISHED

QUIET_SEC = 5.0
"""A running stage writes at most one plain line in this time."""
STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "claimed": "cyan"}
SHORT = {
    "convert-uvh5-to-ms": "convert",
    "calibration-solve": "solve",
    "calibration-apply": "apply",
    "calibrate-target": "calibrate",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of one task."""

    task_id: UUID
    status: str
    update: dict[str, Any] = field(default_factory=dict)


class Follower:
    """Reads the changes of the tasks of some runs in the order of the feed, from the moment it was made."""

    def __init__(self) -> None:
        self._position = readable_limit()[0]

    def poll(self, run_ids: Collection[UUID]) -> list[Change]:
        """Return what was committed since the last call."""
        limit, _ = readable_limit()
        if limit <= self._position:
            return []
        events = TaskEvent.objects.filter(id__gt=self._position, id__lte=limit, run_id__in=run_ids).order_by("id")
        changes = [
            Change(task_id=event.task_id, status=event.to_status, update=event.detail.get("update", {}))
            for event in events
            if event.to_status and event.task_id
        ]
        self._position = limit
        return changes


@dataclass(kw_only=True)
class Step:
    """One stage of one tile and its progress."""

    task_id: UUID
    tile: str
    stage: str
    status: str = "pending"
    fraction: float | None = None
    message: str = ""
    claimed_at: float | None = None
    took_sec: float | None = None
    worker: str = ""

    @classmethod
    def of(cls, task: Task) -> Step:
        """Return the step of a task of a run."""
        return cls(task_id=task.task_id, tile=task.run.label if task.run else "", stage=task.stage)

    def apply(self, change: Change) -> None:
        """Follow one change."""
        update = change.update
        if change.status == "claimed" and "claimed_at" in update:
            self.claimed_at, self.worker = _seconds(update["claimed_at"]), update.get("worker_id", "")
            self.fraction, self.message = None, ""
        if change.status in FINISHED and self.claimed_at is not None and "completed_at" in update:
            self.took_sec = _seconds(update["completed_at"]) - self.claimed_at
        if "progress_message" in update:
            self.fraction, self.message = update.get("progress"), update["progress_message"]
        if change.status == "pending" and self.status == "claimed":
            self.message = f"retried after {update.get('failure_class', 'a failure')}"
        if change.status == "failed":
            self.message = f"{update.get('failure_class', '')}: {first_line(update.get('error', ''))}"
        self.status = change.status

    def cell(self) -> Text:
        """Return what the table shows."""
        style = STYLES.get(self.status, "dim")
        if self.status == "completed":
            return Text(f"✓ {self.took_sec:.1f} s" if self.took_sec is not None else "✓", style)
        if self.status == "claimed":
            return Text("running" if self.fraction is None else f"{self.fraction:4.0%}", style)
        return Text(self.status if self.status != "pending" else "·", style)

    def sentence(self) -> str:
        """Return in words what the step is doing or how it ended."""
        if self.status == "completed":
            return f"completed in {self.took_sec:.1f} s" if self.took_sec is not None else "completed"
        if self.status == "claimed" and not self.message:
            return f"claimed by {self.worker}"
        if self.status == "claimed":
            return f"{'' if self.fraction is None else f'{self.fraction:.0%} '}{self.message}"
        return f"{self.status} {self.message}".strip()


class PlainDisplay:
    """One line for each thing that happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._steps: dict[UUID, Step] = {}
        self._written_at: dict[UUID, float] = {}

    def start(self, steps: Sequence[Step]) -> None:
        """Show these steps from now on."""
        self._steps = {step.task_id: step for step in steps}

    def apply(self, changes: Sequence[Change]) -> None:
        """Show changes; those of other tasks are left out."""
        for change in changes:
            step = self._steps.get(change.task_id)
            if step is not None:
                before = (step.status, step.message)
                step.apply(change)
                self._show(step, *before)

    def _show(self, step: Step, status: str, message: str) -> None:
        """Write a line if the status differs, or a running stage's message does and was not written just now."""
        now = time.monotonic()
        if step.status == status:
            quiet = now - self._written_at.get(step.task_id, 0.0) < QUIET_SEC
            if step.status != "claimed" or step.message == message or quiet:
                return
        self._written_at[step.task_id] = now
        self.print(f"{step.tile}  {step.stage:<18}  {step.sentence()}")

    def print(self, line: str) -> None:
        """Show a line of text."""
        write_line(self._stream, f"{datetime.now():%H:%M:%S}  {line}")

    def stop(self) -> None:
        """Leave the screen in order."""


class LiveDisplay(PlainDisplay):
    """A table of tiles and stages, redrawn in place; lines scroll above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(sys.stdout)
        self._console = console
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4, transient=False)

    def start(self, steps: Sequence[Step]) -> None:
        super().start(steps)
        self._live.start()

    def _show(self, step: Step, status: str, message: str) -> None:
        return  # the table is redrawn from the steps

    def print(self, line: str) -> None:
        self._console.print(line)

    def stop(self) -> None:
        self._live.stop()

    def _table(self) -> Group:
        """Draw the table, narrow enough for 80 columns, and under it what is being done."""
        stages = list(dict.fromkeys(step.stage for step in self._steps.values()))
        tile_column = Column("tile", no_wrap=True, min_width=19)
        table = Table(tile_column, *(SHORT.get(stage, stage) for stage in stages), box=box.SIMPLE, padding=(0, 1, 0, 0))
        for tile in dict.fromkeys(step.tile for step in self._steps.values()):
            steps = {step.stage: step for step in self._steps.values() if step.tile == tile}
            table.add_row(tile, *(steps[s].cell() if s in steps else "" for s in stages))
        busy = [step for step in self._steps.values() if step.status in ("claimed", "failed") and step.message]
        texts = [f"  {step.tile} {SHORT.get(step.stage, step.stage)}: {step.message}" for step in busy]
        return Group(table, *(Text(text, overflow="ellipsis", no_wrap=True) for text in texts))


def display_for(stream: TextIO) -> PlainDisplay:
    """Return the display that suits the stream."""
    return LiveDisplay(SafeConsole(stream)) if stream.isatty() else PlainDisplay(stream)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def first_line(text: str) -> str:
    """Return the first line of an error, cut to what fits a line of progress."""
    return text.split("\n", 1)[0][:200]
