"""A steady stream of short tasks, and how many of them end in each window before and after a fault."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from statistics import median

from tasks_app.models import Attempt, Task
from tasks_app.postgresql import clock
from workers.gameday.drill import Drill
from workers.gameday.polling import wait_for
from workers.gameday.report import WINDOW_SEC, WINDOWS

SLEEP_SEC = 0.8
"""Long beside what a busy machine takes to give a free slot its next task."""
SLOTS = 4
"""What a worker of the drill has (ABSURD_WORKER_CONCURRENCY's default)."""
LASTS_SEC = 45.0


class Stream:
    """Enough tasks in the queue to keep every slot busy; the slots, not the processors, set the rate."""

    def __init__(self, drill: Drill, workers: int = 2, lasts_sec: float = LASTS_SEC) -> None:
        self._drill = drill
        count = int(workers * SLOTS / SLEEP_SEC * lasts_sec)
        # Not all of the same length, or a worker's slots would fall into step.
        lengths = [SLEEP_SEC * (0.75, 1.0, 1.25)[number % 3] for number in range(count)]
        tasks = drill.spawn_many("thread-sleep", [{"seconds": seconds, "steps": 1} for seconds in lengths])
        self.task_ids = [task.task_id for task in tasks]
        self.before = 0.0
        # A slot that has not started yet does not mean a slow worker.
        wait_for("the stream", lambda: self._ended_after(tasks[0].created_at) > 2 * workers * SLOTS)

    def measure_before(self) -> None:
        """Measure how it is without a fault."""
        start = clock.now()
        time.sleep(WINDOWS * WINDOW_SEC)
        self.before = self._rate(start)

    def measure_after(self) -> None:
        """Measure from now on and compare."""
        start = clock.now()
        time.sleep(WINDOWS * WINDOW_SEC)
        self._drill.report.throughput(self.before, self._rate(start))

    def all_at_work_after(self, moment: datetime) -> datetime:
        """Return by when every worker of the drill has completed a task again after a moment, as soon as each has."""
        return max(self._first_end(worker.label, moment) for worker in self._drill.processes.workers)

    def _first_end(self, label: str, moment: datetime) -> datetime:
        rows = Attempt.objects.filter(task_id__in=self.task_ids, worker__label=label, outcome="completed")
        ends = rows.filter(ended_at__gt=moment).order_by("ended_at").values_list("ended_at", flat=True)
        found: datetime = wait_for(f"a task completed by {label}", ends.first)
        return found

    def _ended_after(self, moment: datetime | None) -> int:
        ended = Task.objects.filter(task_id__in=self.task_ids, status="completed")
        return ended.count() if moment is None else ended.filter(completed_at__gt=moment).count()

    def _rate(self, start: datetime) -> float:
        """Return the median of the windows' rates, in tasks a second."""
        width = timedelta(seconds=WINDOW_SEC)
        ends = list(
            Task.objects.filter(task_id__in=self.task_ids, status="completed", completed_at__gt=start).values_list(
                "completed_at", flat=True
            )
        )
        counts = [sum(start + n * width < end <= start + (n + 1) * width for end in ends) for n in range(WINDOWS)]
        return float(median(counts)) / WINDOW_SEC


def start_stream(drill: Drill, lasts_sec: float = LASTS_SEC) -> Stream:
    """Start two workers and a stream of tasks, and measure the rate without a fault."""
    drill.processes.start_all_ready(2)
    stream = Stream(drill, lasts_sec=lasts_sec)
    stream.measure_before()
    return stream
