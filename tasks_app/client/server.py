"""The way by a server: REST for calls, a socket for the feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx

from tasks_app.client.batches import batches, renumbered
from tasks_app.client.config import AbsurdConfig
from tasks_app.client.faults import NotConnected, ServerFault, Unavailable, from_problem
from tasks_app.client.sockets import SocketFeed
from tasks_app.client.transport import Choice, Document, Page
from tasks_app.errors import ParamsInvalid

API_ROOT = "/api/absurd"


class ServerTransport:
    """Speaks HTTP and WebSocket."""

    def __init__(self, config: AbsurdConfig) -> None:
        self._config = config
        self._root = config.url.rstrip("/").removesuffix(API_ROOT)
        self._headers = {"X-API-Key": config.api_key} if config.api_key else {}
        self._http: httpx.AsyncClient | None = None

    async def open(self) -> None:
        await self.close()
        self._http = httpx.AsyncClient(
            base_url=f"{self._root}{API_ROOT}/", headers=self._headers, timeout=self._config.timeout_sec
        )
        await self.health(None)

    async def close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def health(self, queue: str | None) -> Document:
        answer = await self._send("GET", f"health?{urlencode({'queue': queue})}" if queue else "health")
        if answer.status_code == 200 or (answer.status_code == 503 and _is_json(answer)):
            found: Document = _document(answer)
            if "queue" in found:
                return found
        raise _fault_of(answer)

    async def queue_names(self) -> list[str]:
        names: list[str] = await self._call("GET", "queues")
        return names

    async def queue_stats(self, queue: str) -> Document:
        return await self._ask("GET", f"queues/{quote(queue, safe='')}/stats")

    async def spawn(self, body: Document, key: str) -> Document:
        return await self._ask("POST", "tasks", body, {"Idempotency-Key": key})

    async def spawn_many(self, wanted: Sequence[tuple[Document, str]]) -> list[Document]:
        """Spawn them in batches, one after the other, each all or none; what was spawned before a refusal stays."""
        spawned: list[Document] = []
        for batch in batches([{**body, "idempotency_key": key} for body, key in wanted]):
            try:
                answer = await self._ask("POST", "tasks/batch", {"tasks": batch})
            except ParamsInvalid as fault:
                raise renumbered(fault, len(spawned)) from None
            spawned += answer["tasks"]
        return spawned

    async def task(self, task_id: str) -> Document:
        return await self._ask("GET", f"tasks/{quote(task_id, safe='')}")

    async def cancel(self, task_id: str, reason: str) -> Document:
        return await self._ask("DELETE", f"tasks/{quote(task_id, safe='')}", {"reason": reason})

    async def retry(self, task_id: str, reason: str) -> Document:
        return await self._ask("POST", f"tasks/{quote(task_id, safe='')}/retry", {"reason": reason})

    async def reprioritize(self, task_id: str, priority: int, reason: str) -> Document:
        body = {"priority": priority, "reason": reason}
        return await self._ask("POST", f"tasks/{quote(task_id, safe='')}/priority", body)

    async def page(self, filters: Mapping[str, Any], cursor: str | None, limit: int) -> Page:
        query = {**filters, "limit": limit, **({"cursor": cursor} if cursor else {})}
        found = await self._ask("GET", f"tasks?{urlencode(query, doseq=True)}")
        following = parse_qs(urlsplit(found["next"] or "").query).get("cursor", [None])[0]
        return Page(tasks=found["tasks"], cursor=following)

    def messages(self, choice: Choice, since: int | None) -> AsyncGenerator[Document, None]:
        scheme, _, rest = self._root.partition("://")
        address = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws/status"
        query = [
            *(("queue", name) for name in choice.queues),
            *(("task_id", task_id) for task_id in choice.task_ids),
            *(("run", run_id) for run_id in choice.runs),
        ]
        return SocketFeed(address, self._headers, query, self._config.timeout_sec).messages(since)

    async def _ask(
        self, method: str, path: str, body: Document | None = None, headers: Mapping[str, str] | None = None
    ) -> Document:
        found = await self._call(method, path, body, headers)
        if not isinstance(found, dict):
            raise ServerFault(f"{self._root} answers with something that is no object")
        return found

    async def _call(
        self, method: str, path: str, body: Document | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        answer = await self._send(method, path, body, headers)
        if answer.is_success:
            return _document(answer)
        raise _fault_of(answer)

    async def _send(
        self, method: str, path: str, body: Document | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        if self._http is None:
            raise NotConnected("the client is not connected")
        try:
            async with asyncio.timeout(self._config.timeout_sec):
                return await self._http.request(method, path, json=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            fault = Unavailable(f"{self._root} cannot be reached: {error or type(error).__name__}")
            fault.never_sent = True
            raise fault from error
        except TimeoutError as error:
            raise Unavailable(f"{self._root} gave no answer within {self._config.timeout_sec:g} s") from error
        except httpx.TransportError as error:
            raise Unavailable(f"{self._root} broke off: {error or type(error).__name__}") from error


def _is_json(answer: httpx.Response) -> bool:
    return "json" in answer.headers.get("Content-Type", "")


def _document(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        message = f"{answer.url} answers with status {answer.status_code} and no JSON; is it an Absurd server?"
        raise ServerFault(message) from None


def _fault_of(answer: httpx.Response) -> Exception:
    problem: Any = {}
    if _is_json(answer):
        problem = _document(answer)
    fault = from_problem(answer.status_code, problem if isinstance(problem, dict) else {})
    if isinstance(fault, Unavailable):
        wait = answer.headers.get("Retry-After", "")
        fault.retry_after_sec = float(wait) if wait.isascii() and wait.isdigit() else None
    return fault
