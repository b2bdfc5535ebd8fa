from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from django.db import connection

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import report_progress
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.errors import LostClaim
from tasks_app.feed import feed
from tasks_app.feed.messages import EventMessage, Message, Selection
from tasks_app.feed.outbox import MESSAGES_MOST, Batch, Outbox
from tasks_app.models import Run, TaskEvent
from tasks_app.operations.queues import pause
from tasks_app.operations.system import freeze, thaw
from tasks_app.operations.tasks import cancel
from tests.tasks_app.callers import ELSEWHERE, make_key, make_user
from tests.tasks_app.listeners import Listener, in_thread, listening
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)


def event_ids() -> list[int]:
    return list(TaskEvent.objects.order_by("id").values_list("id", flat=True))


def claim_and_complete() -> None:
    complete_task(claim_one(make_worker()), {"caltables": ["a"]}, REPORT)


async def test_spawn_claim_and_completion_arrive_in_the_guides_shape():
    async with listening() as listener:
        task = await in_thread(spawn_note)()
        await in_thread(claim_and_complete)()
        spawned, claimed, completed = await listener.updates(3)
    assert set(spawned) == {"type", "queue_name", "task_id", "update", "event_id"}
    assert {each["task_id"] for each in (spawned, claimed, completed)} == {str(task.task_id)}
    assert spawned["update"]["status"] == "pending"
    assert claimed["update"]["status"] == "claimed"
    assert claimed["update"]["claimed_at"].endswith("Z")
    assert completed["update"]["status"] == "completed"
    assert completed["update"]["result"] == {"caltables": ["a"]}
    assert completed["update"]["completed_at"].endswith("Z")
    assert spawned["event_id"] < claimed["event_id"] < completed["event_id"]


async def test_a_change_of_counts_is_reported_for_its_queue():
    async with listening() as listener:
        await in_thread(spawn_note)(queue_name="other")
        assert (await listener.next())["type"] == "task_update"
        assert await listener.next() == {"type": "queue_stats_update", "queue_name": "other"}


async def test_a_freeze_is_reported_to_every_listener_and_a_pause_to_those_of_its_queue():
    async with listening("queue=other") as other, listening() as listener:
        for operation in (freeze, thaw):
            await in_thread(operation)(actor="user:ann", reason="storm")
            for each in (other, listener):
                assert await each.next() == {"type": "queue_stats_update", "queue_name": ""}
        await in_thread(spawn_note)()
        assert [(await listener.next())["type"] for _ in range(2)] == ["task_update", "queue_stats_update"]
        await in_thread(pause)("dsa110-pipeline", actor="user:ann", reason="storm")
        assert await listener.next() == {"type": "queue_stats_update", "queue_name": "dsa110-pipeline"}
        assert await other.communicator.receive_nothing()


async def test_cancelling_shows_first_the_request_and_then_the_end():
    def story() -> None:
        claim = claim_one(make_worker())
        cancel(claim.task_id, actor="user:olga")
        fail_attempt(claim, "cancelled", "stopped", REPORT)

    async with listening() as listener:
        await in_thread(spawn_note)()
        await in_thread(story)()
        _, _, requested, cancelled = await listener.updates(4)
    assert requested["update"]["status"] == "claimed"
    assert requested["update"]["cancel_requested_at"].endswith("Z")
    assert cancelled["update"]["status"] == "cancelled"


async def test_progress_is_a_message_of_its_own_and_no_change_of_status():
    def progress() -> None:
        report_progress(claim_one(make_worker()), fraction=0.5, message="gridding")

    await in_thread(spawn_note)()
    async with listening() as listener:
        await in_thread(progress)()
        while (output := await listener.next())["type"] != "progress":
            assert output["type"] != "task_update" or output["update"]["status"] == "claimed"
        assert {name: output[name] for name in ("progress", "progress_message", "progress_metrics")} == {
            "progress": 0.5,
            "progress_message": "gridding",
            "progress_metrics": {},
        }


async def test_a_refused_write_is_no_update_of_the_task():
    def refused() -> None:
        claim = claim_one(make_worker())
        complete_task(claim, {}, REPORT)
        with pytest.raises(LostClaim):
            complete_task(claim, {}, REPORT)
        spawn_note()

    await in_thread(spawn_note)()
    async with listening() as listener:
        await in_thread(refused)()
        statuses = [output["update"]["status"] for output in await listener.updates(3)]
    assert statuses == ["claimed", "completed", "pending"]


async def test_since_replays_exactly_what_was_missed():
    for _ in range(3):
        await in_thread(spawn_note)()
    ids = await in_thread(event_ids)()
    async with listening(f"since={ids[0]}") as listener:
        await in_thread(spawn_note)()
        output = await listener.updates(3)
    assert [each["event_id"] for each in output][:2] == ids[1:]


async def test_since_zero_replays_more_than_one_page():
    many = [TaskOptions(task_name="note", params={"text": "a"}) for _ in range(1203)]
    await in_thread(spawn_many)(many, actor="user:test")
    async with listening("since=0") as listener:
        output = await listener.updates(1203)
    assert [each["event_id"] for each in output] == sorted({each["event_id"] for each in output})


async def test_a_number_that_was_never_drawn_asks_for_a_new_start():
    await in_thread(spawn_note)()
    (last,) = await in_thread(event_ids)()
    async with listening(f"since={last + 1000}") as listener:
        assert await listener.next() == {"type": "resync", "event_id": last}
        await in_thread(spawn_note)()
        assert (await listener.updates(1))[0]["event_id"] > last


async def test_the_filters_pick_queue_task_and_run():
    def spawn_in_run() -> Run:
        run = Run.objects.create(workflow="standard-pipeline")
        spawn_note(run=run)
        return run

    await in_thread(spawn_note)()
    task = await in_thread(spawn_note)(queue_name="other")
    run = await in_thread(spawn_in_run)()
    await in_thread(spawn_note)(queue_name="last")
    for query, count in ((f"task_id={task.task_id}", 1), (f"run={run.run_id}", 1), ("queue=other&queue=last", 2)):
        async with listening(f"since=0&{query}") as listener:
            output = await listener.updates(count)
            assert len({each["task_id"] for each in output}) == count
    async with listening(f"since=0&task_id={uuid4()}") as listener:
        assert await listener.communicator.receive_nothing(0.3, 0.02)


async def test_two_listeners_hear_the_same():
    async with listening() as one, listening() as other:
        for _ in range(5):
            await in_thread(spawn_note)()
        assert await one.updates(5) == await other.updates(5)


async def test_after_the_last_listener_left_a_new_one_hears_again():
    async with listening() as listener:
        await in_thread(spawn_note)()
        await listener.updates(1)
    async with listening() as listener:
        task = await in_thread(spawn_note)()
        (output,) = await listener.updates(1)
    assert output["task_id"] == str(task.task_id)


async def test_numbers_beyond_32_bits_work():
    def jump() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT setval(pg_get_serial_sequence('tasks_app_taskevent', 'id'), %s)", [2**33 + 5])

    await in_thread(jump)()
    async with listening() as listener:
        task = await in_thread(spawn_note)()
        (output,) = await listener.updates(1)
    assert output["event_id"] == 2**33 + 6
    async with listening(f"since={2**33}") as listener:
        assert (await listener.updates(1))[0]["task_id"] == str(task.task_id)


def output(event_id: int) -> EventMessage:
    event = TaskEvent(id=event_id, task_id=uuid4(), queue_name="q", event_type="spawned", to_status="pending")
    return EventMessage(event=event, message=Message(type="task_update", text=str(event_id), event_id=event_id))


async def test_a_socket_that_does_not_keep_up_has_to_start_again():
    socket = Outbox(Selection(), position=0)
    for page in range(25):
        ids = range(page * 500 + 1, page * 500 + 501)
        socket.offer(Batch(events=[output(n) for n in ids], position=ids[-1]))
        assert len(socket) <= MESSAGES_MOST + 1
    messages = [(await socket.next()).text for _ in range(len(socket))]
    assert '"resync"' in messages[0]
    at = int(messages[0].split(":")[-1].strip(" }"))
    assert [m for m in messages[1:] if m.isdigit()] == [str(n) for n in range(at + 1, 12_501)]


async def test_a_client_with_much_to_be_sent_lets_others_have_a_turn():
    outbox, turns = Outbox(Selection(), position=0), 0
    outbox.offer(Batch(events=[output(n) for n in range(1, 3_001)], position=3_000))

    async def send() -> None:
        while len(outbox):
            await outbox.next()

    sending = asyncio.create_task(send())
    while not sending.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100


async def test_a_socket_ahead_of_its_reader_gets_nothing_twice():
    socket = Outbox(Selection(), position=7)
    socket.offer(Batch(events=[output(n) for n in range(5, 10)], position=9))
    assert [(await socket.next()).text for _ in range(2)] == ["8", "9"]


@pytest.mark.parametrize("query", ["since=x", "since=-1", "task_id=7", "run=", "sinec=4"])
async def test_a_query_it_cannot_read_is_refused(query):
    assert await Listener(query).refusal() == 4400


async def test_another_path_is_refused():
    assert await Listener(path="/ws/other").refusal() == 4404


async def test_strangers_are_refused_and_a_reading_key_is_not():
    key = await in_thread(make_key)("read")
    narrow = await in_thread(make_key)("spawn")
    assert await Listener(client=(ELSEWHERE, 1)).refusal() == 4401
    assert await Listener(client=(ELSEWHERE, 1), x_forwarded_for="127.0.0.1").refusal() == 4401
    assert await Listener(client=(ELSEWHERE, 1), x_api_key="nonsense").refusal() == 4401
    assert await Listener(client=(ELSEWHERE, 1), x_api_key=narrow).refusal() == 4403
    async with listening(client=(ELSEWHERE, 1), x_api_key=key) as listener:
        await in_thread(spawn_note)()
        await listener.updates(1)


async def test_local_listening_is_off_in_production(settings):
    settings.ABSURD_MODE = "production"
    assert await Listener().refusal() == 4401


async def test_a_page_of_another_site_is_turned_away_before_anything_else():
    key = await in_thread(make_key)("read")
    connected, _ = await Listener(origin="https://evil.example.org", x_api_key=key).communicator.connect(timeout=60)
    assert not connected


async def test_a_logged_in_viewer_may_listen_until_they_log_out(monkeypatch):
    monkeypatch.setattr("tasks_app.feed.access.RECHECK_SEC", 0.1)

    def log_in() -> str:
        from django.test import Client

        client = Client()
        client.force_login(make_user("vera", "Viewer"))
        return client.cookies["sessionid"].value

    session = await in_thread(log_in)()
    listener = Listener(client=(ELSEWHERE, 1), cookie=f"sessionid={session}", origin="http://localhost:8000")
    await listener.open()
    await in_thread(spawn_note)()
    await listener.updates(1)

    def log_out() -> None:
        from django.contrib.sessions.models import Session

        Session.objects.all().delete()

    await in_thread(log_out)()
    while (last := await listener.communicator.receive_output(timeout=60))["type"] != "websocket.close":
        pass
    assert last["code"] == 4401
    await listener.close()


async def test_someone_logged_in_without_the_permission_is_refused():
    def log_in() -> str:
        from django.test import Client

        client = Client()
        client.force_login(make_user("nora"))
        return client.cookies["sessionid"].value

    session = await in_thread(log_in)()
    assert await Listener(cookie=f"sessionid={session}").refusal() == 4403


async def test_a_client_that_leaves_while_the_reader_is_woken_leaves_at_once():
    for _ in range(30):
        reader, outbox = feed(), Outbox(Selection(), 0)
        while not reader.join(outbox):
            outbox.offer(await reader.catch_up(outbox))
        await asyncio.sleep(0.02)
        reader._woken.set()
        await reader.leave(outbox)
