"""A client that is refused a socket again and again has to wait, and is counted together with refused requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
import websockets

from tests.daphne_server import serving
from tests.security.test_live import output
from tests.tasks_app.callers import make_key
from tests.tasks_app.listeners import in_thread

pytestmark = pytest.mark.django_db(transaction=True)

MOST = 6
WRONG = {"X-API-Key": "wrong.key"}
EVIL = {"Origin": "https://evil.example"}
ROUNDS = 4
"""A round fails when a minute ends within it, for then the count begins anew."""


async def request(port: int) -> int:
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/api/absurd/tasks", headers=WRONG)
        return answer.status_code


async def from_another_address(port: int) -> int | None:
    address = f"ws://127.0.0.1:{port}/ws/status"
    async with websockets.connect(address, additional_headers=WRONG, local_addr=("127.0.0.2", 0)) as connection:
        with pytest.raises(websockets.ConnectionClosed):
            await connection.recv()
        return connection.close_code


async def after(often: Callable[[], Awaitable[Any]], then: Callable[[], Awaitable[Any]], expected: Any) -> list[Any]:
    """Do one thing as often as it may be refused, and then another that is to end as expected; return how all ended."""
    for _ in range(ROUNDS):
        found = [await often() for _ in range(MOST)]
        found.append(await then())
        if found[-1] == expected:
            return found
    raise AssertionError(found)


async def test_refused_sockets_and_requests_of_an_address_are_counted_together(live_environment):
    key = await in_thread(make_key)("read")
    # Of its own, so that what other tests had refused in this minute does not count.
    own = {"ABSURD_THROTTLE": f"refused_per_min={MOST}", "ABSURD_CHANNEL_PREFIX": f"sockets-{uuid4().hex}"}
    environment = live_environment | own
    with serving(environment) as port:

        async def socket() -> Any:
            return await output(port, WRONG)

        async def from_another_site() -> Any:
            return await output(port, {**EVIL, "X-API-Key": key})

        assert await socket() == 4401
        assert set(await after(socket, socket, 4429)) <= {4401, 4429}
        assert set(await after(socket, lambda: request(port), 429)) <= {4401, 4429, 429}
        assert set(await after(from_another_site, socket, 4429)) == {403, 4429}
        assert await from_another_address(port) == 4401
        assert await output(port, {"X-API-Key": key}) == "hello"
