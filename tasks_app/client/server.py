"""The client of a server: HTTP for requests, a WebSocket for the feed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tasks_app.client.faults import (
    NotAuthenticated,
    NotConnected,
    NotPermitted,
    RequestRefused,
    ServerFault,
    Unavailable,
    from_problem,
)
from tasks_app.client.transport import API_ROOT, Choice, Document, Request, pause_sec, renumbered
from tasks_app.client.values import AbsurdConfig
from tasks_app.errors import ParamsInvalid

REFUSALS = {
    4400: RequestRefused("the server rejected a filter of the feed"),
    4401: NotAuthenticated("the feed needs a key with the scope 'read'"),
    4403: NotPermitted("the key lacks the scope 'read'"),
    4404: ServerFault("the server has no feed at /ws/status"),
}
PING_SEC = 15.0
"""The server answers with the last event covered, so that the position advances also for a narrow choice."""


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
        await self.call(Request(method="GET", path="health"))

    async def close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def call(self, request: Request) -> Any:
        """Send the request. A health that is bad is an answer as well, with status 503."""
        answer = await self._send(request)
        if answer.status_code == 204:
            return {}
        if answer.is_success:
            return _document(answer)
        found = _document(answer) if _is_json(answer) else {}
        if answer.status_code == 503 and isinstance(found, dict) and "queue" in found:
            return found
        raise _fault_of(answer, found if isinstance(found, dict) else {})

    async def spawn_batches(self, requests: Sequence[Request]) -> list[Any]:
        """Send them one after the other, each all or none; what was spawned before a refusal stays."""
        answers = []
        for number, request in enumerate(requests):
            try:
                answers.append(await self.call(request))
            except ParamsInvalid as fault:
                raise renumbered(fault, requests[:number]) from None
        return answers

    def messages(self, choice: Choice, since: int | None) -> AsyncGenerator[Document, None]:
        scheme, _, rest = self._root.partition("://")
        address = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws/status"
        query = [
            *(("queue", name) for name in choice.queues),
            *(("task_id", task_id) for task_id in choice.task_ids),
            *(("run", run_id) for run_id in choice.runs),
        ]
        return SocketFeed(address, self._headers, query, self._config.timeout_sec).messages(since)

    async def _send(self, request: Request) -> httpx.Response:
        if self._http is None:
            raise NotConnected("the client is not connected")
        content = request.content()
        headers = {**request.headers, **({"Content-Type": "application/json"} if content else {})}
        try:
            async with asyncio.timeout(self._config.timeout_sec):
                return await self._http.request(request.method, request.path, content=content, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            fault = Unavailable(f"{self._root} cannot be reached: {error or type(error).__name__}")
            fault.never_sent = True
            raise fault from error
        except TimeoutError as error:
            raise Unavailable(f"{self._root} gave no answer within {self._config.timeout_sec:g} s") from error
        except httpx.TransportError as error:
            raise Unavailable(f"{self._root} closed the connection: {error or type(error).__name__}") from error


def _is_json(answer: httpx.Response) -> bool:
    return "json" in answer.headers.get("Content-Type", "")


def _document(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        message = f"{answer.url} answers with status {answer.status_code} and no JSON; is it an Absurd server?"
        raise ServerFault(message) from None


def _fault_of(answer: httpx.Response, problem: Mapping[str, Any]) -> Exception:
    fault = from_problem(answer.status_code, problem)
    if isinstance(fault, Unavailable):
        wait = answer.headers.get("Retry-After", "")
        fault.retry_after_sec = float(wait) if wait.isascii() and wait.isdigit() else None
    return fault


class SocketFeed:
    """The feed over a socket, which reconnects by itself and continues after the last message."""

    def __init__(
        self, address: str, headers: Mapping[str, str], query: Sequence[tuple[str, str]], timeout_sec: float
    ) -> None:
        self._address = address
        self._headers = headers
        self._query = query
        self._timeout_sec = timeout_sec
        self._position: int | None = None

    async def messages(self, since: int | None) -> AsyncGenerator[Document, None]:
        """Yield every message after `since`, or from now on, each once and in order.

        Raises what the server refuses for good; everything else is retried for ever.
        """
        self._position = since
        failures = 0
        while True:
            with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, ConnectionClosed):
                async with self._connection() as socket:
                    floor = self._position
                    while True:
                        message: Document = json.loads(await socket.recv())
                        if self._is_news(message, floor):
                            failures = 0
                            yield message
            await asyncio.sleep(pause_sec(failures))
            failures = min(failures + 1, 10)

    def _is_news(self, message: Document, floor: int | None) -> bool:
        """Note the position of the feed; return whether the message is not one that came before `floor`."""
        kind, number = message.get("type"), message.get("event_id")
        if not isinstance(number, int):
            return True
        if kind == "hello":
            self._position = number if self._position is None else self._position
            return True
        if kind == "pong":
            self._position = max(self._position or 0, number)
            return False
        if kind != "resync" and floor is not None and number <= floor:
            return False
        self._position = number
        return True

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[ClientConnection]:
        since = [] if self._position is None else [("since", str(self._position))]
        address = f"{self._address}?{urlencode([*self._query, *since])}"
        try:
            opened = await connect(
                address, additional_headers=self._headers, open_timeout=self._timeout_sec, max_size=None
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if 400 <= status < 500 and status != 429:
                raise ServerFault(f"{self._address} answers with status {status}") from error
            raise
        pinger = asyncio.create_task(_ping(opened))
        try:
            yield opened
        except ConnectionClosed as closed:
            refusal = REFUSALS.get(closed.rcvd.code) if closed.rcvd else None
            raise refusal or closed from None
        finally:
            pinger.cancel()
            await opened.close()


async def _ping(socket: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.sleep(PING_SEC)
            await socket.send('{"type": "ping"}')
