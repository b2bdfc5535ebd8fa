"""Many tasks in requests that a server takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tasks_app.client.transport import Document
from tasks_app.errors import ParamsInvalid

TASKS_MOST = 500
BYTES_MOST = 900_000


def batches(bodies: Sequence[Document]) -> Iterator[list[Document]]:
    """Yield the bodies in order, so many at a time as one request may carry; one that is too large stands alone."""
    batch: list[Document] = []
    size = 0
    for body in bodies:
        own = len(json.dumps(body))
        if batch and (len(batch) == TASKS_MOST or size + own > BYTES_MOST):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += own + 2
    if batch:
        yield batch


def renumbered(fault: ParamsInvalid, before: int) -> ParamsInvalid:
    """Return the fault of a batch with paths that count from the first of all tasks, `before` of which came earlier."""
    problems = []
    for problem in fault.problems:
        tasks, _, rest = str(problem["path"]).partition(".")
        number, dot, field = rest.partition(".")
        known = tasks == "tasks" and number.isdigit()
        path = f"{tasks}.{int(number) + before}{dot}{field}" if known else problem["path"]
        problems.append({**problem, "path": path})
    return ParamsInvalid(problems)
