"""Progress of several tiles through their stages: a table that is redrawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TextIO
from uuid import UUID

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from tasks_app.engine.event_window import readable_limit
from tasks_app.management.output import write_line
from tasks_app.management.printing import SafeConsole
from tasks_app.models import TaskEvent

QUIET_SEC = 5.0
"""A running stage writes a plain line this often at most."""
FINISHED = ("completed", "failed", "cancelled")
STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "claimed": "cyan"}
SHORT = {
    "convert-uvh5-to-ms": "convert",
    "calibration-solve": "solve",
    "calibration-apply": "apply",
    "calibrate-target": "calibrate",
}


@dataclass(kw_only=True)
class Step:
    """One stage of one tile, and how far it is."""

    task_id: UUID
    tile: str
    stage: str
    status: str = "pending"
    fraction: float | None = None
    message: str = ""
    claimed_at: float | None = None
    took_sec: float | None = None
    worker: str = ""

    def take(self, change: Change) -> None:
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
            self.message = f"{update.get('failure_class', '')}: {_first_line(update.get('error', ''))}"
        self.status = change.status

    def cell(self) -> Text:
        """Return what the table shows."""
        style = STYLES.get(self.status, "dim")
        if self.status == "completed":
            return Text(f"✓ {self.took_sec:.1f} s" if self.took_sec is not None else "✓", style)
        if self.status == "claimed":
            return Text("running" if self.fraction is None else f"{self.fraction:4.0%}", style)
        return Text(self.status if self.status != "pending" else "·", style)


class Display(Protocol):
    """Where progress goes."""

    def begin(self, steps: Sequence[Step]) -> None:
        """Say what there will be to show."""

    def take(self, changes: Sequence[Change]) -> None:
        """Show changes."""

    def say(self, line: str) -> None:
        """Show a line of text."""

    def end(self) -> None:
        """Leave the screen in order."""


class PlainDisplay:
    """One line for each thing that happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._steps: dict[UUID, Step] = {}
        self._told_at: dict[UUID, float] = {}

    def begin(self, steps: Sequence[Step]) -> None:
        self._steps = {step.task_id: step for step in steps}

    def take(self, changes: Sequence[Change]) -> None:
        for change in changes:
            step = self._steps.get(change.task_id)
            if step is not None:
                before = (step.status, step.message)
                step.take(change)
                line = self._line(step, before)
                if line:
                    self.say(f"{step.tile}  {step.stage:<18}  {line}")

    def _line(self, step: Step, before: tuple[str, str]) -> str:
        if step.status != before[0]:
            self._told_at[step.task_id] = time.monotonic()
            return sentence(step)
        if step.status != "claimed" or step.message == before[1]:
            return ""
        now = time.monotonic()
        if now - self._told_at.get(step.task_id, 0.0) < QUIET_SEC:
            return ""
        self._told_at[step.task_id] = now
        return sentence(step)

    def say(self, line: str) -> None:
        write_line(self._stream, f"{datetime.now():%H:%M:%S}  {line}")

    def end(self) -> None:
        return


class LiveDisplay:
    """A table of tiles and stages, redrawn in place; lines scroll above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: dict[UUID, Step] = {}
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4, transient=False)

    def begin(self, steps: Sequence[Step]) -> None:
        self._steps = {step.task_id: step for step in steps}
        self._live.start()

    def take(self, changes: Sequence[Change]) -> None:
        for change in changes:
            step = self._steps.get(change.task_id)
            if step is not None:
                step.take(change)

    def say(self, line: str) -> None:
        self._console.print(line)

    def end(self) -> None:
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
        lines = [
            Text(
                f"  {step.tile} {SHORT.get(step.stage, step.stage)}: {step.message}", overflow="ellipsis", no_wrap=True
            )
            for step in busy
        ]
        return Group(table, *lines)


def sentence(step: Step) -> str:
    """Say in words what a step is doing or how it ended."""
    if step.status == "completed":
        return f"completed in {step.took_sec:.1f} s" if step.took_sec is not None else "completed"
    if step.status == "claimed" and not step.message:
        return f"claimed by {step.worker}"
    if step.status == "claimed":
        return f"{'' if step.fraction is None else f'{step.fraction:.0%} '}{step.message}"
    return f"{step.status} {step.message}".strip()


def display_for(stream: TextIO | None = None) -> Display:
    """Return the display that suits the stream, by default standard output."""
    stream = stream or sys.stdout
    if stream.isatty():
        return LiveDisplay(SafeConsole(stream))
    return PlainDisplay(stream)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0][:200]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of one task, as the feed tells it."""

    task_id: UUID
    status: str
    update: dict[str, Any] = field(default_factory=dict)


class Follower:
    """Hands out the changes of the tasks of some runs since it was made."""

    def __init__(self) -> None:
        self._position = readable_limit()[0]
        self._runs: Collection[UUID] = ()

    def follow(self, run_ids: Collection[UUID]) -> None:
        """Say whose changes are wanted."""
        self._runs = list(run_ids)

    def poll(self) -> list[Change]:
        """Return what was committed since the last call."""
        limit, _ = readable_limit()
        if limit <= self._position:
            return []
        events = TaskEvent.objects.filter(id__gt=self._position, id__lte=limit, run_id__in=self._runs).order_by("id")
        changes = [
            Change(task_id=event.task_id, status=event.to_status, update=event.detail.get("update", {}))
            for event in events
            if event.to_status and event.task_id
        ]
        self._position = limit
        return changes
