"""The interface of the two transports, which both carry requests of the API, and what they share."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tasks_app.client.faults import RequestRefused, Unavailable
from tasks_app.engine.options import BATCH_MOST
from tasks_app.errors import ParamsInvalid

T = TypeVar("T")
Document = dict[str, Any]
API_ROOT = "/api/absurd"
PAUSE_FIRST_SEC, PAUSE_MOST_SEC = 0.2, 5.0
BATCH_BYTES_MOST = 900_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request of the API; `path` is below API_ROOT and may have a query."""

    method: str
    path: str
    body: Document | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """Return the body as JSON. Raises RequestRefused for values that JSON cannot hold."""
        try:
            return b"" if self.body is None else json.dumps(self.body, allow_nan=False).encode()
        except (ValueError, TypeError) as error:
            raise RequestRefused(f"the params cannot be sent as JSON: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which messages of the feed are selected; an empty choice selects all."""

    queues: Sequence[str] = ()
    task_ids: Sequence[str] = ()
    runs: Sequence[str] = ()


class Transport(Protocol):
    """Carries each request once; errors are those of `faults` and `tasks_app.errors`."""

    async def open(self) -> None:
        """Connect. Raises Unavailable, or DatabaseNotReady."""

    async def close(self) -> None:
        """Close all connections."""

    async def call(self, request: Request) -> Any:
        """Return the document that answers a request."""

    async def spawn_batches(self, requests: Sequence[Request]) -> list[Any]:
        """Return the answers of requests that spawn, in order; on a database all or none of them take effect."""

    def messages(self, choice: Choice, since: int | None) -> AsyncGenerator[Document, None]:
        """Yield messages of the feed, `hello` at every connection included, for ever."""


def pause_sec(number: int) -> float:
    """Return how long to wait before the repetition of that number, from 0: longer each time, with jitter."""
    longest: float = min(PAUSE_MOST_SEC, PAUSE_FIRST_SEC * 2.0**number)
    return random.uniform(0.5, 1.0) * longest  # noqa: S311 - no secret


async def repeat(call: Callable[[], Awaitable[T]], *, retries: int, idempotent: bool) -> T:
    """Return what the call returns, repeating it while it raises Unavailable.

    One that is not idempotent is repeated only when it certainly had no effect.
    """
    for number in range(retries):
        try:
            return await call()
        except Unavailable as fault:
            if not (idempotent or fault.never_sent):
                raise
            await asyncio.sleep(pause_sec(number) if fault.retry_after_sec is None else fault.retry_after_sec)
    return await call()


def batches(bodies: Sequence[Document]) -> Iterator[list[Document]]:
    """Yield the bodies of tasks in order, as many at a time as one request may carry; a too large one stands alone."""
    batch: list[Document] = []
    size = 0
    for body in bodies:
        own = len(json.dumps(body))
        if batch and (len(batch) == BATCH_MOST or size + own > BATCH_BYTES_MOST):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += own + 2
    if batch:
        yield batch


def renumbered(fault: ParamsInvalid, earlier: Sequence[Request]) -> ParamsInvalid:
    """Return the fault of a batch with paths that count from the first task of the earlier batches."""
    before = sum(len((each.body or {})["tasks"]) for each in earlier)
    problems = []
    for problem in fault.problems:
        tasks, _, rest = str(problem["path"]).partition(".")
        number, dot, name = rest.partition(".")
        known = tasks == "tasks" and number.isdigit()
        path = f"{tasks}.{int(number) + before}{dot}{name}" if known else problem["path"]
        problems.append({**problem, "path": path})
    return ParamsInvalid(problems)
