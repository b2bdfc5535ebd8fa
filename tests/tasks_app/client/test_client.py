"""The client over both ways: what works, and what is refused, is the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.db import connection

from tasks_app.client import (
    AbsurdClient,
    AbsurdConfig,
    FeedEvent,
    Health,
    IdempotencyConflict,
    InvalidTransition,
    NewTask,
    NotAuthenticated,
    NotConnected,
    NotPermitted,
    ParamsInvalid,
    QueueNotFound,
    TaskNotFound,
    Unavailable,
    UnknownTaskName,
    WaitTimedOut,
    WrongAddress,
)
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.models import ApiKey, Task, TaskEvent
from tasks_app.operations.system import freeze
from tests.daphne_server import free_port, serving
from tests.tasks_app.listeners import in_thread
from tests.tasks_app.notes import REPORT, make_worker

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "secure_random_key"
QUEUE = "dsa110-pipeline"


@pytest.fixture
def environment(live_environment: dict[str, str]) -> dict[str, str]:
    return {**live_environment, "ABSURD_API_KEY": KEY, "ABSURD_DIAGNOSTICS": "true"}


@pytest.fixture(params=["server", "database"])
def config(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[AbsurdConfig]:
    if request.param == "database":
        yield AbsurdConfig(url=environment["ABSURD_DATABASE_URL"], retries=0)
        return
    with serving(environment) as port:
        yield AbsurdConfig(url=f"http://127.0.0.1:{port}", api_key=KEY, retries=0)


async def complete_one(result: dict[str, Any]) -> None:
    """Claim the next task and complete it."""

    def work() -> None:
        (claim,) = claim_tasks(make_worker(), limit=1)
        complete_task(claim, result, REPORT)

    await in_thread(work)()


async def fails_with(kind: type[Exception], call: Awaitable[Any]) -> Any:
    with pytest.raises(kind) as caught:
        await call
    return caught.value


async def test_a_task_from_spawn_to_end(config: AbsurdConfig):
    async with AbsurdClient(config) as client:
        task = await client.spawn("echo", {"value": "µJy"}, priority=15, timeout_sec=60)
        assert (task.status, task.priority, task.queue_name, task["queue_paused"]) == ("pending", 15, QUEUE, False)
        assert isinstance(task.created_at, datetime) and not task.is_finished
        stats = await client.get_queue_stats(QUEUE)
        assert (stats.pending, stats["total"], stats.queue_name) == (1, 1, QUEUE)
        assert (await client.reprioritize(task.task_id, 16)).priority == 16
        waiting = asyncio.create_task(client.wait(task.task_id, timeout_sec=20))
        await asyncio.sleep(0.3)
        await complete_one({"value": "µJy"})
        ended = await waiting
        assert (ended.status, ended.result, ended.is_finished) == ("completed", {"value": "µJy"}, True)
        assert ended.duration_sec is not None
        assert (await client.get(str(task.task_id))).result == {"value": "µJy"}


async def test_cancel_retry_and_who_did_it(config: AbsurdConfig):
    async with AbsurdClient(config) as client:
        task = await client.spawn("echo", {"value": 1})
        assert (await client.cancel(task.task_id, reason="wrong field")).status == "cancelled"
        event = await in_thread(TaskEvent.objects.get)(event_type="cancelled")
        assert event.reason == "wrong field"
        assert event.actor == "key:ABSURD_API_KEY" if config.is_server else event.actor.startswith("client:")
        assert (await client.retry(task.task_id)).status == "pending"


async def test_refusals_have_the_same_names_and_say_what_to_do(config: AbsurdConfig):
    async with AbsurdClient(config) as client:
        await fails_with(TaskNotFound, client.get(uuid4()))
        await fails_with(TaskNotFound, client.cancel("no id"))
        await fails_with(QueueNotFound, client.get_queue_stats("other"))
        unknown = await fails_with(UnknownTaskName, client.spawn("eccho", {}))
        assert "did you mean echo" in str(unknown) and unknown.remedy
        invalid = await fails_with(ParamsInvalid, client.spawn("sleep", {"seconds": "long"}))
        assert invalid.problems[0]["path"].startswith("params.")
        bad_option = await fails_with(ParamsInvalid, client.spawn("echo", {"value": 1}, priority=21))
        assert bad_option.problems[0]["path"] == "priority"
        task = await client.spawn("echo", {"value": 1}, idempotency_key="tile-7")
        assert (await client.spawn("echo", {"value": 1}, idempotency_key="tile-7")).task_id == task.task_id
        await fails_with(IdempotencyConflict, client.spawn("echo", {"value": 2}, idempotency_key="tile-7"))
        refusal = await fails_with(InvalidTransition, client.retry(task.task_id))
        assert refusal.current == "pending"
        assert await in_thread(Task.objects.count)() == 1


async def test_wait_gives_up_in_time_and_the_task_goes_on(config: AbsurdConfig):
    async with AbsurdClient(config) as client:
        task = await client.spawn("echo", {"value": 1})
        late = await fails_with(WaitTimedOut, client.wait(task.task_id, timeout_sec=0.3))
        assert isinstance(late, TimeoutError) and late.remedy
        await fails_with(TaskNotFound, client.wait(uuid4(), timeout_sec=60))
        assert (await client.get(task.task_id)).status == "pending"


async def test_waiting_ends_at_once_whenever_the_feeds_answer_comes(config: AbsurdConfig):
    """The listener is cancelled at the moment at which its own first answer comes, in some of many turns."""
    async with AbsurdClient(config) as client, asyncio.timeout(120):
        for _ in range(20):
            waiting = (client.wait(uuid4()) for _ in range(10))
            assert {type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)} == {TaskNotFound}


async def test_one_bad_task_among_many_is_named_and_none_is_spawned(config: AbsurdConfig, monkeypatch):
    async with AbsurdClient(config) as client:
        good = NewTask(task_name="echo", params={"value": 1})
        bad = [NewTask(task_name="sleep", params={"seconds": "long"}), NewTask(task_name="eccho")]
        fault = await fails_with(ParamsInvalid, client.spawn_many([good, *bad, good]))
        assert [problem["path"] for problem in fault.problems] == ["tasks.1.params.seconds", "tasks.2.task_name"]
        with pytest.raises(ParamsInvalid, match=r"priority: must be between 1 and 20 \(got 21\)"):
            NewTask(task_name="echo", priority=21)
        assert await in_thread(Task.objects.count)() == 0
        assert await client.spawn_many([]) == []


async def test_by_a_server_many_tasks_take_few_requests_and_faults_are_numbered_over_all(environment, monkeypatch):
    monkeypatch.setattr("tasks_app.client.transport.BATCH_MOST", 40)
    with serving(environment) as port:
        async with AbsurdClient(f"http://127.0.0.1:{port}", api_key=KEY) as client:
            wanted = [NewTask(task_name="echo", params={"value": n}) for n in range(100)]
            spawned = await client.spawn_many(wanted)
            assert [task.params["value"] for task in spawned] == list(range(100))
            fault = await fails_with(
                ParamsInvalid, client.spawn_many([*wanted[:60], NewTask(task_name="sleep", params={"seconds": "long"})])
            )
            assert [problem["path"] for problem in fault.problems] == ["tasks.60.params.seconds"]
    address = in_thread(lambda: TaskEvent.objects.filter(event_type="spawned").values("created_at").distinct().count())
    assert await address() <= 3


async def test_many_tasks_are_spawned_once_and_listed_page_by_page(config: AbsurdConfig, monkeypatch):
    monkeypatch.setattr("tasks_app.client.client.PAGE_TASKS", 3)
    async with AbsurdClient(config) as client:
        wanted = [NewTask(task_name="echo", params={"value": n}, queue_name="other") for n in range(8)]
        spawned = await client.spawn_many(wanted)
        assert [task.task_id for task in await client.spawn_many(wanted)] == [task.task_id for task in spawned]
        assert [task.params["value"] for task in spawned] == list(range(8))
        await client.spawn("echo", {"value": 9})
        await client.cancel(spawned[0].task_id)
        assert len([task async for task in client.list()]) == 9
        pending = [task async for task in client.list(queue_name="other", status=["pending", "claimed"])]
        assert {task.task_id for task in pending} == {task.task_id for task in spawned[1:]}
        assert len([task async for task in client.list(most=4)]) == 4
        recent = client.list(created_after=datetime.now(UTC) - timedelta(hours=1))
        assert len([task async for task in recent]) == 9
        await fails_with(ParamsInvalid, anext(client.list(status="running")))
        assert await client.get_queues() == [QUEUE, "other"]


async def test_events_come_in_order_and_can_be_had_again(config: AbsurdConfig):
    async with AbsurdClient(config) as client:
        first = await client.spawn("echo", {"value": 1})
        other = await client.spawn("echo", {"value": 2}, queue_name="other")
        await client.cancel(first.task_id)
        output = await updates(client.events(since=0), 3)
        assert [each.task_id for each in output] == [first.task_id, other.task_id, first.task_id]
        assert [each.update["status"] for each in output] == ["pending", "pending", "cancelled"]
        numbers = [each.event_id for each in output]
        assert numbers == sorted(numbers)
        again = await updates(client.events(since=numbers[0], task_ids=[first.task_id]), 1)
        assert [each.event_id for each in again] == numbers[2:]
        (of_queue,) = await updates(client.events(since=0, queues=["other"]), 1)
        assert of_queue.task_id == other.task_id


async def updates(events: Any, count: int) -> list[FeedEvent]:
    found: list[FeedEvent] = []
    async with contextlib.aclosing(events), asyncio.timeout(60):
        async for event in events:
            if event.type == "task_update":
                found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("the feed ended")


async def status_of(client: AbsurdClient, status: str) -> Health:
    """Wait for a look that began after the change: a process looks once a second."""
    while (found := await client.health()).status != status:
        await asyncio.sleep(0.1)
    return found


async def test_health_is_reported_also_when_it_is_bad(config: AbsurdConfig):
    async with AbsurdClient(config) as client:
        await in_thread(make_worker)()
        await status_of(client, "healthy")
        await in_thread(freeze)(actor="user:test", reason="disk is full")
        ill = await status_of(client, "degraded")
        assert "disk is full" in ill.reasons[0]


async def test_what_is_closed_reports_it(config: AbsurdConfig):
    client = AbsurdClient(config)
    await fails_with(NotConnected, client.get_queues())
    await client.connect()
    assert await client.get_queues() == [QUEUE]
    await client.close()
    await client.close()
    await fails_with(NotConnected, client.get_queues())
    async with client:
        assert await client.get_queues() == [QUEUE]


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://localhost/", "postgresql:absurd"], ids=str)
def test_an_address_of_neither_kind_is_refused(url):
    with pytest.raises(WrongAddress, match="not the address"):
        AbsurdClient(url)


SOCKETS = ("postgresql:///{name}?host={host}&port={port}&user={user}", "postgresql://{user}@{quoted}:{port}/{name}")


@pytest.mark.parametrize("form", SOCKETS)
def test_a_database_is_reached_through_its_socket(form):
    parts = connection.settings_dict
    host = parts["HOST"]
    if not host.startswith("/"):
        pytest.skip("the test database is not reached through a socket")
    given = form.format(
        name=parts["NAME"], host=host, quoted=quote(host, safe=""), port=parts["PORT"] or 5432, user=parts["USER"]
    )

    async def look() -> str:
        async with AbsurdClient(given) as client:
            return (await client.get_queue_stats(QUEUE)).queue_name

    assert asyncio.run(look()) == QUEUE


def test_an_error_shows_no_password():
    with pytest.raises(WrongAddress) as refusal:
        AbsurdClient("mysql://absurd:secret@localhost/absurd")
    assert "secret" not in str(refusal.value)


def test_a_config_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("ABSURD_DATABASE_URL", "postgresql://localhost/absurd")
    monkeypatch.setenv("ABSURD_QUEUE_NAME", "other")
    monkeypatch.setenv("ABSURD_API_KEY", KEY)
    config = AbsurdConfig.from_env()
    assert (config.url, config.queue_name, config.api_key, config.is_server) == (
        os.environ["ABSURD_DATABASE_URL"],
        "other",
        KEY,
        False,
    )


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
async def test_nobody_there_is_said_after_some_tries(scheme):
    client = AbsurdClient(f"{scheme}://127.0.0.1:{free_port()}/absurd", retries=1, timeout_sec=3)
    fault = await fails_with(Unavailable, client.connect())
    assert "cannot be reached" in str(fault) and fault.remedy


async def test_keys_that_do_not_fit_are_distinguished(environment: dict[str, str]):
    _, narrow = await in_thread(ApiKey.objects.create_key)(name="narrow", scopes=["read"])
    with serving(environment) as port:
        url = f"http://127.0.0.1:{port}"
        async with AbsurdClient(url, api_key=narrow) as client:
            assert await client.get_queues() == [QUEUE]
            await fails_with(NotPermitted, client.spawn("echo", {"value": 1}))
        stranger = AbsurdClient(url, api_key="secure_random_kez")
        assert (await fails_with(NotAuthenticated, stranger.connect())).remedy
        await fails_with(NotAuthenticated, anext(stranger.events()))


class BadLine:
    """A line to a server on which an answer is lost: real sockets, cut once the server has answered."""

    def __init__(self, port: int, *, losing: int) -> None:
        self.target = port
        self.left = losing
        self.requests = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while request := await reader.read(65_536):
                far_writer.write(request)
                answer = await far_reader.read(65_536)
                spawning = request.startswith((b"POST", b"DELETE"))
                self.requests += spawning
                if spawning and self.left > 0:
                    self.left -= 1
                    break
                writer.write(answer)
                await writer.drain()
        far_writer.close()
        writer.close()


async def test_a_spawn_whose_answer_is_lost_is_repeated_and_never_doubled(environment: dict[str, str]):
    with serving(environment) as port:
        line = BadLine(port, losing=2)
        async with line.open() as bad_port, AbsurdClient(f"http://127.0.0.1:{bad_port}", api_key=KEY) as client:
            task = await client.spawn("echo", {"value": 1})
            assert (line.requests, await in_thread(Task.objects.count)()) == (3, 1)
            line.left = 1
            assert (await client.cancel(task.task_id)).status == "cancelled"
            line.left, line.requests = 1, 0
            await fails_with(Unavailable, client.retry(task.task_id))
            assert line.requests == 1


async def test_the_feed_goes_on_over_a_restart_of_the_server_without_gaps_or_repeats(environment: dict[str, str]):
    port = free_port()
    spawn = in_thread(spawn_echo)
    heard: list[int] = []

    async def listen(client: AbsurdClient) -> None:
        async for event in client.events(since=0):
            if event.type == "task_update":
                heard.append(event.event_id)

    async with contextlib.AsyncExitStack() as stack:
        with serving(environment, port=port):
            client = await stack.enter_async_context(AbsurdClient(f"http://127.0.0.1:{port}", api_key=KEY))
            listener = asyncio.create_task(listen(client))
            for _ in range(5):
                await spawn()
            await until(lambda: len(heard) == 5)
        for _ in range(5):
            await spawn()
        with serving(environment, port=port):
            for _ in range(5):
                await spawn()
            await until(lambda: len(heard) == 15)
            await asyncio.sleep(0.5)
        listener.cancel()
    committed = await in_thread(lambda: list(TaskEvent.objects.order_by("id").values_list("id", flat=True)))()
    assert heard == committed


def spawn_echo() -> None:
    from tasks_app.engine.options import TaskOptions
    from tasks_app.engine.spawn import spawn as spawn_now

    spawn_now(TaskOptions(task_name="echo", params={"value": 1}), actor="user:test")


async def until(look: Callable[[], bool], timeout_sec: float = 30) -> None:
    async with asyncio.timeout(timeout_sec):
        while not look():
            await asyncio.sleep(0.05)
