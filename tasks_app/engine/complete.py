"""The successful end of a batch of claims, in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app import cleaning
from tasks_app.engine import dependencies, notify, registry
from tasks_app.engine.claim import Claim
from tasks_app.engine.fail import AttemptReport
from tasks_app.engine.lease import refuse
from tasks_app.engine.move import RESULT_IN_EVENT_CHARS, admit, settle
from tasks_app.errors import LostClaim, TaskNotFound
from tasks_app.models import Task
from tasks_app.postgresql import statements

COMPLETE = Path(__file__).parent / "sql" / "complete.sql"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The successful end of one claim."""

    task_id: UUID
    claim_token: UUID
    result: Any
    exit_code: int | None = None
    log_tail: str = ""
    peak_rss_bytes: int | None = None
    cpu_sec: float | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None


def complete_rows(ends: Sequence[Ended], *, actor: str) -> set[UUID]:
    """Complete every claim that still holds, in one statement; return the claim tokens of those that did.

    To be called in a transaction, because tasks that waited for these are settled in further statements.
    """
    results = [cleaning.dumps(end.result) for end in ends]
    rows = statements.run(
        statements.load(COMPLETE),
        {
            "tokens": [end.claim_token for end in ends],
            "results": results,
            "shown": [len(result) <= RESULT_IN_EVENT_CHARS for result in results],
            "exit_codes": [end.exit_code for end in ends],
            "log_tails": [end.log_tail for end in ends],
            "peaks": [end.peak_rss_bytes for end in ends],
            "cpus": [end.cpu_sec for end in ends],
            "reads": [end.read_bytes for end in ends],
            "writes": [end.write_bytes for end in ends],
            "actor": actor,
        },
    )
    if rows:
        transaction.on_commit(notify.publisher.announce)
        admit(set(rows[0][2]))
        parents = dependencies.with_children([task_id for _, task_id, _ in rows])
        if parents:
            settle(dependencies.lock_waiting_children(parents))
    return {token for token, _, _ in rows}


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A claim that came to its end, with what its handler returned."""

    claim: Claim
    result: Any
    report: AttemptReport = field(default_factory=AttemptReport)

    @property
    def ended(self) -> Ended:
        """What the state machine needs of it."""
        report = self.report
        return Ended(
            task_id=self.claim.task_id,
            claim_token=self.claim.claim_token,
            result=self.result,
            exit_code=report.exit_code,
            log_tail=report.log_tail,
            peak_rss_bytes=report.peak_rss_bytes,
            cpu_sec=report.cpu_sec,
            read_bytes=report.read_bytes,
            write_bytes=report.write_bytes,
        )


def complete_tasks(completions: Sequence[Completion]) -> set[UUID]:
    """Complete the tasks of one worker in one transaction; return the ids of those whose claim was lost.

    Only for task names without `on_complete`, whose rows belong into a transaction with one task's completion.
    """
    if not completions:
        return set()
    actor = completions[0].claim.actor
    with transaction.atomic(savepoint=False):
        held = complete_rows([each.ended for each in completions], actor=actor)
    lost = [each.claim for each in completions if each.claim.claim_token not in held]
    for claim in lost:
        refuse(claim, "completion")
    return {claim.task_id for claim in lost}


def complete_task(
    claim: Claim, result: dict[str, Any], report: AttemptReport, *, products: Sequence[Mapping[str, Any]] = ()
) -> Task:
    """Complete the task and, in the same transaction, let its spec's `on_complete` record the products.

    Raises LostClaim when another claim holds the task.
    """
    spec = registry.get(claim.task_name)
    completion = Completion(claim=claim, result=result, report=report)
    with transaction.atomic():
        if complete_rows([completion.ended], actor=claim.actor):
            task: Task = Task.objects.select_related("run").get(task_id=claim.task_id)
            if spec.on_complete:
                module, _, function = spec.on_complete.partition(":")
                getattr(import_module(module), function)(task, claim, products)
            return task
        if not Task.objects.filter(task_id=claim.task_id).exists():
            raise TaskNotFound(claim.task_id)
    refuse(claim, "completion")
    raise LostClaim(claim.task_id, "completion")
