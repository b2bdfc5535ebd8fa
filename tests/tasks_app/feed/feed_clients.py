"""Clients of the feed of a real web process, each message of which is held against the schema."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import websockets
from jsonschema import Draft202012Validator

from tasks_app.api.views.feed import message_schema

VALIDATOR = Draft202012Validator(message_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def understood(text: str) -> dict[str, Any]:
    message = json.loads(text)
    VALIDATOR.validate(message)
    return message


class SocketClient:
    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def next(self, timeout: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            return understood(str(await self.socket.recv()))

    async def first(self, kind: str, timeout: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            while (message := await self.next(timeout))["type"] != kind:
                pass
        return message

    async def silence(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await self.next(seconds)
            return False
        return True

    async def close_code(self, timeout: float = 60) -> int | None:
        """Wait for the server to close and return its code."""
        async with asyncio.timeout(timeout):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.socket.recv()
        return self.socket.close_code


@contextlib.asynccontextmanager
async def socket(port: int, query: str = "", **options: Any) -> AsyncIterator[SocketClient]:
    address = f"ws://127.0.0.1:{port}/ws/status{'?' if query else ''}{query}"
    async with websockets.connect(address, **options) as connection:
        yield SocketClient(connection)


class StreamClient:
    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.last_id: int | None = None
        self.comments: list[str] = []

    async def next(self, timeout: float = 60) -> dict[str, Any]:
        """Return the next event; keep the ids as a browser does."""
        async with asyncio.timeout(timeout):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = int(value)
                elif name == "data":
                    return understood(value)
                elif line.startswith(":"):
                    self.comments.append(line)
        raise EOFError

    async def first(self, kind: str, timeout: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            while (message := await self.next(timeout))["type"] != kind:
                pass
        return message


@contextlib.asynccontextmanager
async def stream(port: int, query: str = "", **headers: str) -> AsyncIterator[StreamClient]:
    address = f"http://127.0.0.1:{port}/api/absurd/feed{'?' if query else ''}{query}"
    asked = {"Accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with httpx.AsyncClient(timeout=30) as client, client.stream("GET", address, headers=asked) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield StreamClient(answer.aiter_lines())
