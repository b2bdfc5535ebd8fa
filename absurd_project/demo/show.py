"""The course of a demo, once the system runs: deliver, watch the feed until all is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from absurd_project.demo.feed import FeedListener
from absurd_project.demo.system import System
from absurd_project.demo.tiles import DemoTile, deliver
from absurd_project.processing.progress import FINISHED, Change, Display, Step
from absurd_project.processing.session import waits_in_vain
from pipeline_app.ingest.register import Ingested, tile_of
from pipeline_app.models import Observation
from tasks_app.models import Run, Task

POLL_SEC = 0.2
INGEST_SEC = 60.0


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


@dataclass(kw_only=True)
class Show:
    """Two tiles on their way through the running system."""

    system: System
    tiles: Sequence[DemoTile]
    listener: FeedListener
    display: Display
    interrupted: Callable[[], bool]
    runs: list[Run] = field(default_factory=list)
    found: Ingested = field(default_factory=Ingested)

    def play(self, timeout_sec: float) -> None:
        """Deliver the tiles and show what becomes of them. Raises DemoFailed."""
        for tile in self.tiles:
            place = deliver(tile, self.system.incoming)
            self.display.say(f"{tile.spec.kind} tile {tile.name}: {len(tile.truth.files)} files in {place}")
        early = self._wait_for_runs()
        self.display.begin([Step(task_id=t.task_id, tile=t.run.label, stage=t.stage) for t in self.tasks()])  # type: ignore[union-attr]
        self.display.take(early)
        deadline = time.monotonic() + timeout_sec
        while not self._is_over():
            self.display.take(self.listener.take())
            self._breathe()
            if time.monotonic() > deadline:
                raise DemoFailed(f"not finished after {timeout_sec:.0f} s")
        # The last event may still be on its way from the database to the socket.
        time.sleep(1.0)
        self.display.take(self.listener.take())

    def tasks(self) -> list[Task]:
        """Return the tasks of both runs."""
        return list(Task.objects.filter(run__in=self.runs).select_related("run").order_by("id"))

    def _wait_for_runs(self) -> list[Change]:
        """Wait until the ingest has started both runs; return what the feed said meanwhile."""
        early: list[Change] = []
        deadline = time.monotonic() + INGEST_SEC
        names = [tile.name for tile in self.tiles]
        while len(self.runs) < len(names):
            self._breathe()
            early.extend(self.listener.take())
            started = Observation.objects.filter(name__in=names, run_id__isnull=False).order_by("start_mjd")
            self.runs = list(Run.objects.filter(run_id__in=started.values("run_id")).order_by("id"))
            if time.monotonic() > deadline:
                states = [f"{o.name}: {o.state} {o.reason}" for o in Observation.objects.filter(name__in=names)]
                raise DemoFailed(f"the ingest has not started both tiles ({'; '.join(states) or 'none seen'})")
        self.found.tiles = [tile_of(o) for o in Observation.objects.filter(name__in=names).order_by("start_mjd")]
        return early

    def _is_over(self) -> bool:
        unfinished = [task for task in self.tasks() if task.status not in FINISHED]
        return all(waits_in_vain(task) for task in unfinished)

    def _breathe(self) -> None:
        self.system.poll()
        if self.interrupted():
            raise DemoFailed("interrupted")
        time.sleep(POLL_SEC)
