"""Each error class of PostgreSQL at each statement of the feed: every event is sent once, in order, to all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tasks_app.feed import access, reader
from tasks_app.models import ApiKey, TaskEvent
from tests.fault_injection import CLASSES, Injector
from tests.tasks_app.callers import make_key
from tests.tasks_app.listeners import in_thread, listening
from tests.tasks_app.notes import spawn_note

pytestmark = pytest.mark.django_db(transaction=True)
FEW = ("25006", "57P01", "42P01", "terminated")
FAULTS_MOST = 2000


def of_the_feed() -> bool:
    return threading.current_thread().name.startswith("feed-reader")


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(reader, "POLL_SEC", 0.02)


@pytest.fixture
def injector(request, quick) -> Iterator[Injector]:
    injector = Injector(classes=request.param, applies=of_the_feed, calm=3)
    injector.install()
    yield injector
    injector.remove()


async def outlive(injector: Injector) -> None:
    """Commit events until each statement has met each fault; then check what a client was sent."""
    output: list[int] = []
    async with listening() as listener:
        for _ in range(FAULTS_MOST):
            await in_thread(spawn_note)()
            output += [update["event_id"] for update in await listener.updates(1, timeout=60)]
            if injector.injected and not injector.outstanding:
                break
        assert injector.outstanding == 0, injector.left
    # Not `async for`: that leaves the connection open in the thread which asgiref keeps for it.
    assert output == await in_thread(list)(TaskEvent.objects.order_by("id").values_list("id", flat=True))


@pytest.mark.parametrize("injector", [FEW], indirect=True)
async def test_the_feed_outlives_faults_at_its_statements(injector):
    await outlive(injector)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("injector", [CLASSES], indirect=True)
async def test_the_feed_outlives_each_fault_at_each_statement(injector):
    await outlive(injector)
    assert len(injector.injected) >= 3 * len(CLASSES)


@pytest.mark.parametrize("fault", ["25006", "57P01", "terminated"])
async def test_a_client_that_comes_during_an_outage_is_served_when_it_is_over(fault, quick):
    task = await in_thread(spawn_note)()
    outage = Injector(
        classes=(fault,), applies=lambda: threading.current_thread().name.startswith("feed-replay"), calm=0
    )
    outage.install()
    try:
        async with listening("since=0") as listener:
            (spawned,) = await listener.updates(1, timeout=30)
    finally:
        outage.remove()
    assert outage.injected and spawned["task_id"] == str(task.task_id)


async def test_a_key_that_is_revoked_during_an_outage_ends_the_socket_after_it(monkeypatch):
    monkeypatch.setattr(access, "RECHECK_SEC", 0.05)
    key = await in_thread(make_key)("read")
    outage = Injector(
        classes=("57P01", "25006", "terminated"),
        applies=lambda: not threading.current_thread().name.startswith("feed") and outage_began.is_set(),
        calm=0,
    )
    outage_began = threading.Event()
    outage.install()
    try:
        async with listening(x_api_key=key) as listener:
            outage_began.set()
            while not outage.injected:
                await asyncio.sleep(0.01)
            while True:
                try:
                    await in_thread(ApiKey.objects.all().update)(revoked=True)
                    break
                except Exception:
                    continue
            closed = await listener.communicator.receive_output(timeout=60)
            while closed["type"] != "websocket.close":
                closed = await listener.communicator.receive_output(timeout=60)
        assert closed["code"] == access.NOT_LOGGED_IN
    finally:
        outage.remove()
