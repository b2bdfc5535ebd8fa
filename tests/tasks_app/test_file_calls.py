"""Files in file systems that hang: nobody waits for long, and other roots are served."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tasks_app.errors import FilesBusy
from tasks_app.files import bounded_calls, http_streaming
from tasks_app.files.bounded_calls import in_time, in_time_async


@pytest.fixture
def roots(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    settings.ABSURD_DATA_ROOTS = (tmp_path / "hung", tmp_path / "well")
    monkeypatch.setattr(bounded_calls, "LIMIT_SEC", 0.05)
    return settings.ABSURD_DATA_ROOTS


@pytest.fixture
def hanging(roots: tuple[Path, Path]) -> Iterator[threading.Event]:
    """Have one call hang in the first root until the event is set."""
    answers = threading.Event()
    with pytest.raises(FilesBusy, match="hung"):
        in_time(roots[0] / "a", answers.wait)
    yield answers
    answers.set()


def test_a_call_that_hangs_lets_its_caller_go_and_keeps_the_others_from_its_root(roots, hanging):
    with pytest.raises(FilesBusy, match="hung"):
        in_time(roots[0] / "b", pytest.fail, "it was called")
    with pytest.raises(FilesBusy, match="hung"):
        asyncio.run(in_time_async(roots[0] / "b", pytest.fail, "it was called"))


def test_other_roots_are_served_meanwhile_and_the_hung_one_when_it_answers_again(roots, hanging):
    for number in range(3 * bounded_calls.CALLS_MOST):
        assert in_time(roots[1] / "a", int, str(number)) == number
    hanging.set()
    while bounded_calls._hanging[str(roots[0])]:
        pass
    assert in_time(roots[0] / "a", int, "1") == 1
    assert asyncio.run(in_time_async(roots[0] / "a", int, "2")) == 2


def test_errors_of_the_call_come_through(roots):
    with pytest.raises(TimeoutError, match="the call's own"):
        in_time(roots[1], _raise, TimeoutError("the call's own"))
    with pytest.raises(OSError, match="no such"):
        asyncio.run(in_time_async(roots[1], _raise, OSError("no such")))


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.django_db(transaction=True)
def test_no_database_connection_is_held_while_a_file_system_is_asked(roots):
    connection.ensure_connection()
    assert in_time(roots[1], lambda: connection.connection) is None
    assert connection.connection is None


def test_only_regular_files_are_opened(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    with http_streaming.open_file(path) as file:
        assert file.read() == b"x"
    for other in ("fifo", "link", "folder/file", "."):
        with pytest.raises(OSError):
            http_streaming.open_file(tmp_path / other)
    with pytest.raises(OSError):
        http_streaming.open_file(Path("/dev/zero"))


def test_so_many_files_are_sent_at_once_and_no_more(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(http_streaming.CHUNK_BYTES + 1)

    def send():
        file = http_streaming.open_file(path)
        return http_streaming.send_file(file, content_type="a/b", headers={}, request_headers={})

    sent = [send() for _ in range(http_streaming.SENT_MOST)]
    try:
        with pytest.raises(FilesBusy):
            send()
    finally:
        for response in sent:
            response.close()
    send().close()
