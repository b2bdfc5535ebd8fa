"""The log of a running attempt as it is written, to those who ask for it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings

from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import start_attempt
from tasks_app.feed import logs
from tests.daphne_server import serving
from tests.tasks_app.feed.feed_clients import socket, stream, understood
from tests.tasks_app.listeners import in_thread, listening
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)


def start(var: Path, *, host: str = "", path: str = "") -> tuple[Claim, Path]:
    """Claim a task and begin its log, as a worker does."""
    worker = make_worker()
    worker.host = host or platform.node()
    worker.save()
    claim = claim_one(worker)
    log = var / "log" / "attempts" / str(claim.task_id) / f"{claim.attempt}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("first line\n")
    start_attempt(claim, directory="", log_path=path or str(log))
    return claim, log


def write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


async def text_until(client: Any, end: str) -> tuple[str, list[dict[str, Any]]]:
    """Collect what is logged until it ends with something."""
    output: list[dict[str, Any]] = []
    while not "".join(each["text"] for each in output).endswith(end):
        output.append(await client.first("log"))
    return "".join(each["text"] for each in output), output


async def test_lines_arrive_as_they_are_written_by_socket_and_stream(live_environment):
    var = Path(live_environment["ABSURD_VAR"])
    task = await in_thread(spawn_note)()
    with serving(live_environment) as port:
        async with socket(port, f"log={task.task_id}") as one, stream(port, f"log={task.task_id}&types=log") as other:
            claim, log = await in_thread(start)(var)
            assert (await one.first("log"))["text"] == "first line\n"
            assert (await other.first("log"))["text"] == "first line\n"
            write(log, "second line\nthird")
            output = await one.first("log")
            assert {name: output[name] for name in ("task_id", "attempt", "host", "offset", "text")} == {
                "task_id": str(task.task_id),
                "attempt": claim.attempt,
                "host": platform.node(),
                "offset": len("first line\n"),
                "text": "second line\n",
            }
            assert await other.first("log") == output
            write(log, " line, unfinished")
            async with socket(port, f"log={task.task_id}") as late:
                assert (await late.first("log"))["text"] == "first line\nsecond line\n"
                await in_thread(complete_task)(claim, {}, REPORT)
                for client in (one, other, late):
                    text, _ = await text_until(client, "third line, unfinished")
                    assert text == "third line, unfinished"
                    assert (await client.first("log"))["ended"]


async def test_the_next_attempt_is_followed_from_its_beginning(live_environment):
    var = Path(live_environment["ABSURD_VAR"])
    task = await in_thread(spawn_note)()
    claim, _ = await in_thread(start)(var)
    with serving(live_environment) as port:
        async with socket(port, f"log={task.task_id}") as client:
            await client.first("log")
            await in_thread(fail_attempt)(claim, "drained", "the worker stops", REPORT)
            assert (await client.first("log")).get("ended")
            second, _ = await in_thread(start)(var)
            output = await client.first("log")
            assert (output["attempt"], output["offset"], output["text"]) == (second.attempt, 0, "first line\n")


async def test_a_torrent_is_cut_into_messages_and_what_is_left_out_is_said(live_environment):
    var = Path(live_environment["ABSURD_VAR"])
    task = await in_thread(spawn_note)()
    _, log = await in_thread(start)(var)
    with serving(live_environment) as port:
        async with socket(port, f"log={task.task_id}") as client:
            await client.first("log")
            lines = [f"{number:06} {'x' * 92}\n" for number in range(3_000)]
            write(log, "".join(lines))
            text, output = await text_until(client, lines[-1])
            assert text == "".join(lines)
            assert all(len(each["text"]) <= logs.MESSAGE_BYTES_MOST for each in output)
            write(log, "".join(lines) * 8)
            while True:
                last = await client.first("log")
                if last["offset"] + len(last["text"]) == log.stat().st_size:
                    break
            assert last["skipped_bytes"] > 1_000_000
            assert len(last["text"].splitlines()[0]) == 99


async def test_only_the_tail_of_what_is_there_already_is_sent(live_environment):
    var = Path(live_environment["ABSURD_VAR"])
    task = await in_thread(spawn_note)()
    _, log = await in_thread(start)(var)
    write(log, "".join(f"{number:06} {'y' * 92}\n" for number in range(1_000)))
    with serving(live_environment) as port:
        async with socket(port, f"log={task.task_id}") as client:
            output = await client.first("log")
            assert output["text"].endswith("y\n") and len(output["text"]) <= logs.TAIL_BYTES
            assert output["offset"] == log.stat().st_size - len(output["text"])
            assert output["text"].splitlines()[0].endswith("y" * 92)


async def test_a_log_on_another_host_or_outside_the_state_directory_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the password\n")
    root = settings.ABSURD_VAR / "log" / "attempts"
    for host, path in (
        ("elsewhere", "/var/lib/absurd/log/attempts/1/1.log"),
        ("", str(secret)),
        ("", f"{root}/../../../../../../..{secret}"),
        ("", str(settings.ABSURD_VAR / "secret_key")),
    ):
        task = await in_thread(spawn_note)()
        claim, _ = await in_thread(start)(settings.ABSURD_VAR, host=host, path=path)
        assert claim.task_id == task.task_id
        for _ in range(2):
            async with listening(f"types=log&log={task.task_id}") as listener:
                output = understood(await listener.communicator.receive_from(5))
                assert output["elsewhere"] and output["text"] == "" and output["host"] == (host or platform.node())
                assert await listener.communicator.receive_nothing(0.4, 0.05)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "missing"])
async def test_what_a_task_has_put_in_its_logs_place_is_not_read(tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_text("the password\n")
    task = await in_thread(spawn_note)()
    claim, log = await in_thread(start)(settings.ABSURD_VAR)
    log.unlink()
    if kind == "link":
        log.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(log)
    elif kind == "directory":
        log.mkdir()
    async with listening(f"types=log&log={task.task_id}") as listener:
        await in_thread(complete_task)(claim, {}, REPORT)
        output = understood(await listener.communicator.receive_from(5))
        assert output["text"] == "" and ("ended" in output or "elsewhere" in output)


async def test_a_task_is_followed_once_for_all_its_clients_and_not_after_the_last():
    task = await in_thread(spawn_note)()
    query = f"types=log&log={task.task_id}&log={uuid4()}"
    async with listening(query) as one, listening(query) as other:
        for client in (one, other):
            assert await client.communicator.receive_nothing(0.2, 0.02)
        (tailers,) = [each for each in logs._tailers.values() if task.task_id in each]
        assert {len(tailer) for tailer in tailers.values()} == {2}
    assert tailers == {}


async def test_a_client_may_follow_five_logs_and_no_more(live_environment):
    with serving(live_environment) as port:
        async with socket(port, "&".join(f"log={uuid4()}" for _ in range(6))) as client:
            assert await client.close_code() == 4400
        async with socket(port, "&".join(f"log={uuid4()}" for _ in range(5))) as client:
            assert (await client.next())["type"] == "hello"
