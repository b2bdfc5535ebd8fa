"""Claim and run what is pending, in the test's own process, through the same claim and the same fence as a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from django.db import connection, transaction
from django.db.models import Q
from psycopg.pq import TransactionStatus

from tasks_app.engine import registry
from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.lease import report_progress, start_attempt
from tasks_app.errors import LostClaim, TaskNotFound, UnknownTaskName
from tasks_app.maintenance import sweeper
from tasks_app.models import Queue, Task, Worker
from tasks_app.models.querysets import short_id
from tasks_app.postgresql import clock
from tasks_app.testing.attempts import LocalAttempt, LocalContext, execute, fresh_directory
from tasks_app.testing.factories import claim_task, make_worker, pick


class ClaimContext(LocalContext):
    """The context of a claimed task: its progress is stored as a worker's is."""

    def __init__(self, claim: Claim, place: Path, data_roots: tuple[Path, ...]) -> None:
        super().__init__(
            place / f"{short_id(claim.task_id)}-{claim.attempt}-{str(claim.claim_token)[:8]}",
            task_name=claim.task_name,
            data_roots=data_roots,
            task_id=str(claim.task_id),
            attempt=claim.attempt,
            cores=claim.cores,
            memory_gb=claim.memory_gb,
        )
        self._claim = claim

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        super().progress(fraction, message, **metrics)
        report_progress(self._claim, fraction=fraction, message=_clean(message), metrics=metrics)


def run_claim(claim: Claim, place: Path, data_roots: tuple[Path, ...] = ()) -> LocalAttempt:
    """Run a claimed task and complete or fail it; its directory is made below `place`."""
    try:
        handler = registry.get(claim.task_name).handler
    except UnknownTaskName as error:
        attempt = LocalAttempt(task_name=claim.task_name, outcome="error", error=str(error), exception=error)
    else:
        context = ClaimContext(claim, place, data_roots)
        start_attempt(claim, directory=str(context.attempt_dir), log_path="")
        with _own_damage():
            attempt = execute(handler, claim.params, context)
    attempt = _settle(claim, attempt)
    return replace(attempt, task=Task.objects.filter(task_id=claim.task_id).first())


def _settle(claim: Claim, attempt: LocalAttempt) -> LocalAttempt:
    """Store the outcome; return the attempt with what became of it."""
    try:
        if attempt.outcome == "completed":
            complete_task(claim, attempt.result or {}, AttemptReport(), products=attempt.products)
        else:
            report = AttemptReport(traceback=_clean(attempt.traceback), log_tail=_clean(attempt.traceback))
            fail_attempt(claim, attempt.outcome, _clean(attempt.error), report)
    except (LostClaim, TaskNotFound) as refusal:
        return replace(attempt, outcome="refused", error=str(refusal))
    except Exception as error:
        if attempt.outcome != "completed":
            raise
        message = f"the result could not be recorded: {type(error).__name__}: {error}"
        failed = replace(attempt, outcome="error", result=None, error=message, exception=error, products=())
        return _settle(claim, failed)
    return attempt


@contextmanager
def _own_damage() -> Iterator[None]:
    """Keep a database error inside the block from breaking the transaction that the test itself runs in."""
    if not connection.in_atomic_block:
        yield
        return
    savepoint = transaction.savepoint()
    yield
    broken = connection.connection.info.transaction_status == TransactionStatus.INERROR
    if connection.needs_rollback or broken:
        transaction.set_rollback(False)
        transaction.savepoint_rollback(savepoint)
    else:
        transaction.savepoint_commit(savepoint)


def _clean(text: str) -> str:
    """Return the text without the one character that PostgreSQL cannot store."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


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
    return sweeper.release_due() + sweeper.fire_joins() + sweeper.fail_overdue() + sweeper.fail_past_deadline()
