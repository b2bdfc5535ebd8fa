"""Claim and run what is pending, in the test's own process, through the same claim and the same fence as a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Q

from tasks_app.maintenance import sweeps
from tasks_app.models import Queue, Task, Worker
from tasks_app.postgresql import clock
from tasks_app.testing.attempts import LocalAttempt
from tasks_app.testing.claims import run_claim
from tasks_app.testing.contexts import fresh_directory
from tasks_app.testing.factories import make_worker
from tasks_app.testing.picking import claim_task, pick

LIMIT = 1000


@dataclass(frozen=True, kw_only=True)
class DrainReport:
    """What was run, in order."""

    attempts: tuple[LocalAttempt, ...]
    emptied: bool
    """Whether it ended because nothing more could be claimed, not at the limit."""

    @property
    def outcomes(self) -> Counter[str]:
        """How many attempts ended in each way."""
        return Counter(attempt.outcome for attempt in self.attempts)

    @property
    def names(self) -> list[str]:
        """The task names in the order in which they were run."""
        return [attempt.task_name for attempt in self.attempts]

    @property
    def only(self) -> LocalAttempt:
        """The one attempt that was run. Raises ValueError when there was another number of them."""
        (attempt,) = self.attempts
        return attempt

    def of(self, task: Task) -> list[LocalAttempt]:
        """Return the attempts of one task."""
        return [attempt for attempt in self.attempts if attempt.task and attempt.task.task_id == task.task_id]

    def __iter__(self) -> Iterator[LocalAttempt]:
        return iter(self.attempts)

    def __len__(self) -> int:
        return len(self.attempts)


def drain(
    queue_name: str | None = None,
    *,
    limit: int = LIMIT,
    names: Collection[str] | None = None,
    directory: Path | None = None,
    data_roots: tuple[Path, ...] = (),
) -> DrainReport:
    """Claim and run tasks until nothing can be claimed, or `limit` attempts have been made; say what came of each.

    Of one queue or of all, and only of the given task names if there are any. Each attempt gets a directory of its own
    below `directory`, where its products stay. What waits for a later moment stays pending: move the clock on.
    """
    wanted = None if names is None else Q(task_name__in=names)
    place = directory or fresh_directory()
    attempts: list[LocalAttempt] = []
    emptied = False
    with _employed() as worker:
        _upkeep()
        while len(attempts) < limit and not emptied:
            everywhere = Queue.objects.values_list("name", flat=True)
            worker.queues = list(everywhere) if queue_name is None else [queue_name]
            claim = pick(worker, wanted)
            if claim is not None:
                attempts.append(run_claim(claim, place, data_roots))
            elif not _upkeep():
                emptied = True
    return DrainReport(attempts=tuple(attempts), emptied=emptied)


def run_task(task: Task, *, directory: Path | None = None, data_roots: tuple[Path, ...] = ()) -> LocalAttempt:
    """Claim and run this one task, whatever stands before it in its queue. Raises NotClaimable."""
    with _employed() as worker:
        _upkeep()
        return run_claim(claim_task(task, worker), directory or fresh_directory(), data_roots)


@contextmanager
def _employed() -> Iterator[Worker]:
    """Yield a worker that has stopped when the block ends."""
    worker = make_worker(label="test-kit")
    yield worker
    Worker.objects.filter(pk=worker.pk).update(stopped_at=clock.DatabaseNow())


def _upkeep() -> int:
    """Do what workers do between claims, save taking tasks from lost workers; return how many tasks changed."""
    return sweeps.release_due() + sweeps.fire_joins() + sweeps.fail_overdue() + sweeps.fail_past_deadline()
