"""One claimed task, run in the test's own process and brought to its end through the fence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from django.db import connection, transaction
from psycopg.pq import TransactionStatus

from tasks_app.engine import registry
from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.lease import report_progress, start_attempt
from tasks_app.errors import LostClaim, TaskNotFound, UnknownTaskName
from tasks_app.models import Task
from tasks_app.models.task import short_id
from tasks_app.testing.attempts import LocalAttempt, execute
from tasks_app.testing.contexts import LocalContext


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
