"""A client that does not read must start again, costs a bounded amount of memory, and is cut off in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import psutil
import pytest
from django.db import transaction

from tasks_app.engine.events import Change, announce
from tasks_app.feed import connection
from tasks_app.models import TaskEvent
from tests.daphne_server import serving
from tests.tasks_app.feed.feed_clients import socket, stream
from tests.tasks_app.listeners import in_thread

pytestmark = pytest.mark.django_db(transaction=True)

EVENTS, BLOB_BYTES = 8_000, 8_000


def write_much(count: int = EVENTS) -> int:
    """Commit many large events and return the number of the last one."""
    for _ in range(0, count, 500):
        with transaction.atomic():
            detail = {"worker": {"worker_id": "w", "blob": "x" * BLOB_BYTES}}
            announce(Change(event_type="worker_changed", actor="worker:w", detail=detail))
            TaskEvent.objects.bulk_create(
                TaskEvent(event_type="worker_changed", actor="worker:w", detail=detail) for _ in range(499)
            )
    return int(TaskEvent.objects.latest("id").pk)


def server_on(port: int) -> psutil.Process:
    (daphne,) = [each for each in psutil.Process().children() if str(port) in each.cmdline()]
    return daphne


async def until(true: Callable[[], bool], patience_sec: float) -> None:
    async with asyncio.timeout(patience_sec):
        while not true():
            await asyncio.sleep(0.05)


async def test_one_that_reads_late_has_to_start_again_and_has_cost_little_memory(live_environment):
    with serving(live_environment) as port:
        daphne = server_on(port)
        async with socket(port) as eager:
            await eager.next()
            await in_thread(write_much)(500)
            for _ in range(500):
                await eager.next()
            before = daphne.memory_info().rss
            async with socket(port, max_queue=1, ping_interval=None) as lazy, stream(port) as idle:
                last = await in_thread(write_much)()
                while (await eager.next(30)).get("event_id") != last:
                    pass
                assert daphne.memory_info().rss - before < EVENTS * BLOB_BYTES / 2
                for client in (lazy, idle):
                    heard = [await client.next()]
                    while heard[-1]["event_id"] != last:
                        heard.append(await client.next())
                    numbers = [each["event_id"] for each in heard]
                    assert numbers == sorted(numbers)
                    restarts = [n for n, each in enumerate(heard) if each["type"] == "resync"]
                    assert restarts, "messages were left out without a word"
                    gaps = [n for n in range(2, len(numbers)) if numbers[n] > numbers[n - 1] + 1]
                    assert set(gaps) <= set(restarts)


@pytest.mark.realtime
async def test_one_that_never_reads_is_cut_off_and_its_buffer_freed(live_environment):
    with serving(live_environment) as port:
        daphne = server_on(port)
        async with socket(port, max_queue=1, ping_interval=None) as lazy:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET /api/absurd/feed HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            await reader.readline()

            def held() -> int:
                ours = [each for each in daphne.net_connections() if each.laddr.port == port]
                return sum(each.status == "ESTABLISHED" for each in ours)

            await until(lambda: held() == 2, 30)
            started = time.monotonic()
            await in_thread(write_much)()
            await until(lambda: held() == 0, connection.STALLED_SEC + 30)
            assert time.monotonic() - started > connection.STALLED_SEC - 5
            assert httpx.get(f"http://127.0.0.1:{port}/api/absurd/health").status_code in (200, 503)
            assert await lazy.close_code() in (4408, 1006)
            writer.close()
