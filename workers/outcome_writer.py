"""Bring the outcome of an attempt to the database, exactly once, whatever happens to the connection on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence

from django.db import Error

from tasks_app import cleaning
from tasks_app.engine import registry
from tasks_app.engine.complete import Completion, complete_task, complete_tasks
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.errors import LostClaim, TaskNotFound
from tasks_app.models import Attempt
from tasks_app.postgresql import outages
from workers.execution import Execution
from workers.process import publication
from workers.process.outcome import Outcome
from workers.threads import ThreadExecution

GATHER_SEC = 0.01
DISCONNECTS_MOST = 10
"""After this many connections that broke when it was sent to an answering database, the outcome is at fault."""
REFUSALS_MOST = 10
"""An answering database may refuse the statements this often: what lost a race with another transaction succeeds."""

logger = logging.getLogger(__name__)


class Gathering:
    """How long ended attempts may still wait for others. Only threads end many within a few milliseconds."""

    def __init__(self) -> None:
        self._since: float | None = None

    def wait_sec(self, executions: Collection[Execution]) -> float | None:
        """Return the seconds to wait, 0 when it is time to store what has ended, None when nothing has."""
        ended = [execution for execution in executions if execution.outcome is not None]
        if not ended:
            self._since = None
            return None
        more_to_come = any(isinstance(execution, ThreadExecution) and execution.running for execution in executions)
        if not more_to_come or not all(isinstance(execution, ThreadExecution) for execution in ended):
            return 0.0
        self._since = self._since or time.monotonic()
        return max(0.0, self._since + GATHER_SEC - time.monotonic())


def is_simple(execution: Execution) -> bool:
    """Return whether it is a success that needs no more than its task's row, and was not tried before."""
    outcome = execution.outcome
    if outcome is None or outcome.result is None or outcome.result.products or execution.delivery_tries:
        return False
    spec = registry.find(execution.claim.task_name)
    return spec is not None and spec.on_complete is None and not publication.has_outputs(execution.places)


def complete_simple(executions: Sequence[Execution]) -> None:
    """Store simple successes in the transaction of the caller, who settles them after its commit."""
    completions = []
    for execution in executions:
        execution.delivery_tries += 1
        if execution.outcome is not None and execution.outcome.result is not None:
            result = execution.outcome.result.result
            completions.append(Completion(claim=execution.claim, result=result, report=execution.report()))
    for task_id in complete_tasks(completions):
        logger.warning("outcome refused task=%s", task_id)


def deliver(execution: Execution) -> bool:
    """Store the outcome; return whether it is settled. Raises what an outage raises."""
    outcome = execution.outcome
    if outcome is None:
        return False
    if outcome.failure_class == "lost" or (execution.delivery_tries and _was_stored(execution)):
        tidy(execution)
        return True
    execution.delivery_tries += 1
    try:
        _store(execution, outcome)
    except (LostClaim, TaskNotFound) as refusal:
        logger.warning("outcome refused %s: %s", execution.named, refusal)
        publication.withdraw(execution.places)
    except Exception as error:
        execution.delivery_disconnects += outages.is_disconnect(error)
        if outages.is_outage(error) and execution.delivery_disconnects < DISCONNECTS_MOST:
            raise
        execution.delivery_refusals += 1
        if isinstance(error, Error) and execution.delivery_refusals < REFUSALS_MOST:
            reason = cleaning.words(error)
            logger.warning("outcome could not be stored and is retried %s: %s", execution.named, reason)
            return False
        return _replace_unstorable(execution, outcome, error)
    tidy(execution)
    return True


def _store(execution: Execution, outcome: Outcome) -> None:
    claim = execution.claim
    report = AttemptReport() if execution.report_refused else execution.report()
    if outcome.failure_class is not None:
        fail_attempt(claim, outcome.failure_class, outcome.message, report, final=outcome.final)
    elif outcome.result is not None:
        publication.publish(execution.places)
        directory = execution.places.published_dir
        products = [
            {**product.model_dump(mode="json"), "path": f"{directory}/{product.path}"}
            for product in outcome.result.products
        ]
        complete_task(claim, outcome.result.result, report, products=products)


def _was_stored(execution: Execution) -> bool:
    """Whether an earlier try was committed although its answer was lost, or another process has ended the attempt."""
    ended = Attempt.objects.filter(claim_token=execution.claim.claim_token, ended_at__isnull=False)
    outcome = ended.values_list("outcome", flat=True).first()
    if outcome is None:
        return False
    if outcome != "completed":
        publication.withdraw(execution.places)
    logger.info("outcome was stored already %s as=%s", execution.named, outcome)
    return True


def _replace_unstorable(execution: Execution, outcome: Outcome, error: Exception) -> bool:
    """Turn a result that the database or the disk refuses into a failure, and a failure into one without measurements.

    Returns whether nothing is left to try.
    """
    logger.exception("outcome could not be stored %s", execution.named)
    publication.withdraw(execution.places)
    execution.delivery_refusals = 0
    if outcome.failure_class is not None:
        # The class and the reason matter most: what was measured is left out.
        given_up, execution.report_refused = execution.report_refused, True
        return given_up
    execution.outcome = Outcome(
        # What the file system refuses here it may take elsewhere.
        failure_class="unavailable" if isinstance(error, OSError) else "error",
        message=f"the result could not be recorded: {cleaning.words(error)}",
        traceback=cleaning.traceback_of(error),
    )
    execution.delivery_tries = 0
    return False


def tidy(execution: Execution) -> None:
    """Remove the attempt's directory; what a failed attempt made may show why it failed."""
    ended_as = execution.outcome.failure_class if execution.outcome else None
    frees_disk = execution.stop_requested is not None and not execution.stop_requested.keep_products
    publication.tidy(execution.places, keep_products=ended_as not in (None, "lost") and not frees_disk)
