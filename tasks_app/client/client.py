"""AbsurdClient: the queue through a server or through its database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from uuid import UUID

from tasks_app.client.database import DatabaseTransport
from tasks_app.client.faults import WaitTimedOut
from tasks_app.client.server import ServerTransport
from tasks_app.client.transport import Choice, Request, Transport, batches, repeat
from tasks_app.client.values import FINISHED, AbsurdConfig, FeedEvent, Health, NewTask, QueueStats, TaskInfo
from tasks_app.errors import AbsurdError, InvalidTransition
from tasks_app.operations.routes import route_of

T = TypeVar("T")
TaskId = UUID | str
PAGE_TASKS = 200
WAIT_POLL_SEC = 2.0


class AbsurdClient:
    """The queue for programs. Connect it, or use it as an async context manager.

    With a server's address (http://…) it speaks HTTP and loads no Django. With a database's (postgresql://…) it works
    on the tables itself, in threads, and sets Django up for that unless the program has; `connect` then makes the
    tables of an empty database whose role may.
    """

    def __init__(self, url: str | AbsurdConfig, **settings: Any) -> None:
        """Take an address with settings of AbsurdConfig, or one whole. Raises WrongAddress."""
        self.config = AbsurdConfig(url=url, **settings) if isinstance(url, str) else replace(url, **settings)
        self._transport: Transport = (
            ServerTransport(self.config) if self.config.is_server else DatabaseTransport(self.config)
        )

    async def connect(self) -> Self:
        """Connect. Raises Unavailable, or DatabaseNotReady with the command to run."""
        try:
            await self._repeat(self._transport.open)
        except BaseException:
            await self._transport.close()
            raise
        return self

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def health(self, queue_name: str | None = None) -> Health:
        """Return whether the queue works."""
        name = queue_name or self.config.queue_name
        query = f"?{urlencode({'queue': name})}" if name else ""
        return Health.model_validate(await self._call("GET", f"health{query}"))

    async def get_queues(self) -> list[str]:
        """Return the names of all queues."""
        names: list[str] = await self._call("GET", "queues")
        return names

    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        """Return the queue's tasks, counted by status. Raises QueueNotFound."""
        return QueueStats.model_validate(await self._call("GET", f"queues/{_quoted(queue_name)}/stats"))

    async def spawn(self, task_name: str, params: dict[str, Any] | None = None, **options: Any) -> TaskInfo:
        """Spawn a task with options of NewTask; a repeated request never spawns a second one.

        Raises UnknownTaskName, ParamsInvalid, IdempotencyConflict, Disabled.
        """
        new = NewTask(task_name=task_name, params=params or {}, **options)
        body = new.body(self.config.queue_name)
        return _task(await self._call("POST", "tasks", body, headers={"Idempotency-Key": new.idempotency_key}))

    async def spawn_many(self, tasks: Sequence[NewTask]) -> list[TaskInfo]:
        """Spawn several: on a database all or none, by a server in batches of up to 500, each all or none.

        The same NewTask is spawned once. Raises ParamsInvalid with paths such as `tasks.7.params.ms_path`.
        """
        bodies = [{**new.body(self.config.queue_name), "idempotency_key": new.idempotency_key} for new in tasks]
        requests = [Request(method="POST", path="tasks/batch", body={"tasks": batch}) for batch in batches(bodies)]
        answers = await self._repeat(lambda: self._transport.spawn_batches(requests))
        return [_task(each) for answer in answers for each in answer["tasks"]]

    async def get(self, task_id: TaskId) -> TaskInfo:
        """Return a task in full. Raises TaskNotFound."""
        return _task(await self._call("GET", f"tasks/{_quoted(task_id)}"))

    async def cancel(self, task_id: TaskId, reason: str = "") -> TaskInfo:
        """Cancel a task, or have its worker stop it: then it is `cancelling` for a while.

        Raises TaskNotFound, or InvalidTransition when it has finished.
        """
        request = Request(method="DELETE", path=f"tasks/{_quoted(task_id)}", body={"reason": reason})
        requests = 0

        async def once() -> Any:
            nonlocal requests
            requests += 1
            try:
                return await self._transport.call(request)
            except InvalidTransition as refusal:
                # An earlier request whose answer was lost has done it.
                if requests == 1 or refusal.current != "cancelled":
                    raise
                return await self.get(task_id)

        found = await self._repeat(once)
        return found if isinstance(found, TaskInfo) else _task(found)

    async def retry(self, task_id: TaskId, reason: str = "") -> TaskInfo:
        """Retry a failed or cancelled task. Not repeated when the answer is lost."""
        return _task(await self.operate("task", "retry", task_id, reason=reason))

    async def reprioritize(self, task_id: TaskId, priority: int, reason: str = "") -> TaskInfo:
        """Change an unfinished task's place in the queue."""
        route = route_of("task", "reprioritize")
        body = {"priority": priority, "reason": reason}
        return _task(await self._call(route.method, route.address(_quoted(task_id)), body))

    async def operate(self, kind: str, name: str, *target: TaskId, **params: Any) -> Any:
        """Carry out any operation, such as `operate("worker", "drain", boot_id, reason="new kernel")`.

        Returns what the API answers. One with a dry run takes `dry_run` and `token`. Not repeated when the answer is
        lost. Raises what the queue raises.
        """
        route = route_of(kind, name)
        address = route.address(*(_quoted(part) for part in target))
        return await self._call(route.method, address, params, idempotent=False)

    async def wait(self, task_id: TaskId, timeout_sec: float | None = None) -> TaskInfo:
        """Return the task once it has finished, however it ended.

        The feed wakes it at once; without a feed it polls every two seconds. Raises TaskNotFound, or
        WaitTimedOut, after which the task continues.
        """
        try:
            async with asyncio.timeout(timeout_sec):
                return await self._finished(str(task_id))
        except TimeoutError as error:
            raise WaitTimedOut(f"task {task_id} has not finished within {timeout_sec:g} s; it continues") from error

    async def events(
        self,
        *,
        since: int | None = None,
        queues: Sequence[str] = (),
        task_ids: Sequence[TaskId] = (),
        runs: Sequence[TaskId] = (),
    ) -> AsyncGenerator[FeedEvent, None]:
        """Yield what happens from now on, or after an event's number, for ever: each once, in order, over reconnects.

        `queue_stats_update` has no number and may be repeated. After a `resync`, events before its number are missing.
        """
        choice = Choice(queues=queues, task_ids=[str(each) for each in task_ids], runs=[str(each) for each in runs])
        async with contextlib.aclosing(self._transport.messages(choice, since)) as messages:
            async for message in messages:
                if message["type"] != "hello":
                    yield FeedEvent.model_validate(message)

    async def list(self, *, most: int | None = None, **filters: Any) -> AsyncGenerator[TaskInfo, None]:
        """Yield tasks, newest first, page by page. Filters are the API's: status, queue_name, task_name, run_id, …

        Several values of one filter are a list; moments are datetimes. Raises ParamsInvalid for what is no filter.
        """
        wanted = {name: _query_value(value) for name, value in filters.items() if value is not None}
        cursor: str | None = None
        left = most
        while left is None or left > 0:
            limit = PAGE_TASKS if left is None else min(PAGE_TASKS, left)
            query = {**wanted, "limit": limit, **({"cursor": cursor} if cursor else {})}
            page = await self._call("GET", f"tasks?{urlencode(query, doseq=True)}")
            for document in page["tasks"]:
                yield _task(document)
            left = None if left is None else left - len(page["tasks"])
            cursor = parse_qs(urlsplit(page["next"] or "").query).get("cursor", [None])[0]
            if cursor is None:
                return

    async def _finished(self, task_id: str) -> TaskInfo:
        woken = asyncio.Event()
        listener = asyncio.create_task(self._listen(task_id, woken))
        try:
            while not (task := await self.get(task_id)).is_finished:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WAIT_POLL_SEC):
                        await woken.wait()
                woken.clear()
            return task
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, task_id: str, woken: asyncio.Event) -> None:
        """Wake the waiter when the feed starts, reports the task's end, or has lost events."""
        with contextlib.suppress(AbsurdError):
            async with contextlib.aclosing(self._transport.messages(Choice(task_ids=[task_id]), None)) as messages:
                async for message in messages:
                    status = message.get("update", {}).get("status")
                    if message["type"] in ("hello", "resync") or status in FINISHED:
                        woken.set()

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        idempotent: bool = True,
    ) -> Any:
        request = Request(method=method, path=path, body=body, headers=headers or {})
        return await self._repeat(lambda: self._transport.call(request), idempotent=idempotent)

    async def _repeat(self, call: Callable[[], Awaitable[T]], *, idempotent: bool = True) -> T:
        return await repeat(call, retries=self.config.retries, idempotent=idempotent)


def _quoted(part: object) -> str:
    return quote(str(part), safe="")


def _task(document: Any) -> TaskInfo:
    return TaskInfo.model_validate(document)


def _query_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [str(each) for each in value]
    return str(value)
