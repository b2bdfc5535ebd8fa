from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from django.conf import settings

from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.lease import start_attempt
from tasks_app.files.http_streaming import CHUNK_BYTES
from tasks_app.models import Attempt, Task
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.finished import completed
from tests.tasks_app.maintenance.test_archived_tasks import archive_all
from tests.tasks_app.notes import claim_one, spawn_note

pytestmark = pytest.mark.django_db
TEXT = b"".join(b"line %d\n" % number for number in range(1, 101))


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read"))


def attempted(worker, *contents: bytes) -> Task:
    """A task with one attempt for each log, the last still under way."""
    task = spawn_note(max_retries=9)
    for number, content in enumerate(contents, 1):
        Task.objects.update(hold=0)
        claim = claim_one(worker)
        log = settings.ABSURD_VAR / "log" / "attempts" / str(task.task_id) / f"{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(content)
        start_attempt(claim, directory="", log_path=str(log))
        if number < len(contents):
            fail_attempt(claim, "error", "boom", AttemptReport(log_tail="kept line 1\nkept line 2"))
    return task


def test_the_whole_log_of_an_attempt_and_of_the_last_one_are_sent(api, worker):
    task = attempted(worker, b"first\n", TEXT)
    first = api.get(f"tasks/{task.task_id}/attempts/1/log")
    assert (first.status_code, first.content, first["Content-Type"]) == (200, b"first\n", "text/plain; charset=utf-8")
    last = api.get(f"tasks/{task.task_id}/log", Accept="text/plain")
    assert (last.content, last["Accept-Ranges"], last["X-Absurd-Log-Size"]) == (TEXT, "bytes", str(len(TEXT)))


@pytest.mark.parametrize(
    ("asked", "sent", "output"),
    [
        ("bytes=0-5", TEXT[:6], f"bytes 0-5/{len(TEXT)}"),
        ("bytes=6-", TEXT[6:], f"bytes 6-{len(TEXT) - 1}/{len(TEXT)}"),
        ("bytes=-9", TEXT[-9:], f"bytes {len(TEXT) - 9}-{len(TEXT) - 1}/{len(TEXT)}"),
        ("bytes=5-99999999", TEXT[5:], f"bytes 5-{len(TEXT) - 1}/{len(TEXT)}"),
        ("bytes=-99999999", TEXT, f"bytes 0-{len(TEXT) - 1}/{len(TEXT)}"),
    ],
    ids=["closed", "open", "suffix", "beyond", "suffix-beyond"],
)
def test_a_range_of_bytes_is_sent(api, worker, asked, sent, output):
    task = attempted(worker, TEXT)
    response = api.get(f"tasks/{task.task_id}/log", Range=asked)
    assert (response.status_code, response.content, response["Content-Range"]) == (206, sent, output)
    assert response["Content-Length"] == str(len(sent))


@pytest.mark.parametrize("asked", ["bytes=99999-", "bytes=-0"])
def test_a_range_that_the_log_does_not_have_is_416(api, worker, asked):
    response = api.get(f"tasks/{attempted(worker, TEXT).task_id}/log", Range=asked)
    assert (response.status_code, response.body["code"]) == (416, "range_not_satisfiable")
    assert response["Content-Range"] == f"bytes */{len(TEXT)}"


@pytest.mark.parametrize("asked", ["bytes=5-1", "lines=1-2", "bytes=0-1,5-6", "bytes=-", "bytes=a-b"])
def test_what_is_no_single_range_gets_the_whole(api, worker, asked):
    response = api.get(f"tasks/{attempted(worker, TEXT).task_id}/log", Range=asked)
    assert (response.status_code, response.content) == (200, TEXT)


def test_a_range_of_a_log_that_has_grown_since_gets_the_whole(api, worker):
    address = f"tasks/{attempted(worker, TEXT).task_id}/log"
    tag = api.get(address)["ETag"]
    assert api.get(address, Range="bytes=0-3", **{"If-Range": tag}).status_code == 206
    assert api.get(address, Range="bytes=0-3", **{"If-Range": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("content", "lines", "sent"),
    [
        (TEXT, 2, b"line 99\nline 100\n"),
        (TEXT, 1000, TEXT),
        (b"one\ntwo", 1, b"two"),
        (b"one\n\n\n", 2, b"\n\n"),
        (b"", 5, b""),
        (b"x" * 200_000 + b"\nend\n", 1, b"end\n"),
        (b"a\n" + b"x" * 200_000 + b"\nend\n", 2, b"x" * 200_000 + b"\nend\n"),
    ],
    ids=["two", "all", "unfinished", "blank", "empty", "long-before", "long"],
)
def test_the_last_lines_are_sent(api, worker, content, lines, sent):
    assert api.get(f"tasks/{attempted(worker, content).task_id}/log?tail={lines}").content == sent


def test_a_large_log_is_sent_in_parts(api, worker):
    task = attempted(worker, b"x" * (2 * CHUNK_BYTES + 5))
    response = api.get(f"tasks/{task.task_id}/log", Range=f"bytes=5-{CHUNK_BYTES + 9}")
    assert response.streaming

    async def collect() -> list[bytes]:
        return [part async for part in response.streaming_content]

    assert [len(part) for part in asyncio.run(collect())] == [CHUNK_BYTES, 5]


@pytest.mark.parametrize("query", ["tail=0", "tail=x", "follow=perhaps", "offset=-1", "lines=3"])
def test_a_bad_query_is_refused(api, worker, query):
    response = api.get(f"tasks/{attempted(worker, TEXT).task_id}/log?{query}")
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")


def test_a_log_on_another_host_is_answered_with_what_the_row_keeps(api, worker):
    task = attempted(worker, b"first\n", b"second\n")
    Attempt.objects.update(log_path="/var/absurd/log/attempts/7/1.log")
    response = api.get(f"tasks/{task.task_id}/attempts/1/log")
    assert (response.content, response["X-Absurd-Log-Kept"]) == (b"kept line 1\nkept line 2", "tail")
    assert response["X-Absurd-Log-Host"] == "test"
    assert api.get(f"tasks/{task.task_id}/attempts/1/log?tail=1").content == b"kept line 2"
    gone = api.get(f"tasks/{task.task_id}/attempts/2/log")
    assert (gone.status_code, "it ran on test" in gone.body["detail"]) == (404, True)


def test_no_path_leads_out_of_the_logs_directory(api, worker, tmp_path):
    task = attempted(worker, TEXT)
    inside = settings.ABSURD_VAR / "log" / "attempts" / str(task.task_id)
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    link = inside / "link.log"
    link.symlink_to(secret)
    beside = inside.parent.parent / "beside.log"
    beside.write_text("hunter2")
    for path in (secret, link, inside / ".." / ".." / "beside.log", inside, Path("/etc/passwd"), "relative.log"):
        Attempt.objects.update(log_path=str(path))
        response = api.get(f"tasks/{task.task_id}/log")
        assert (response.status_code, b"hunter2" in response.content) == (404, False)


@pytest.mark.parametrize("number", ["7", "0", "99999999999999999999"])
def test_an_attempt_that_there_never_was_is_not_found(api, worker, number):
    assert api.get(f"tasks/{attempted(worker, TEXT).task_id}/attempts/{number}/log").status_code == 404


def test_a_task_that_was_never_attempted_has_no_log(api):
    response = api.get(f"tasks/{spawn_note().task_id}/log")
    assert (response.status_code, "not been attempted" in response.body["detail"]) == (404, True)


def test_the_log_of_an_archived_task_is_still_there(api):
    task = completed(50)
    log = settings.ABSURD_VAR / "log" / "attempts" / str(task.task_id) / "1.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(TEXT)
    Attempt.objects.update(log_path=str(log))
    archive_all()
    assert not Task.objects.exists()
    assert api.get(f"tasks/{task.task_id}/log").content == TEXT
    assert api.get(f"tasks/{task.task_id}/attempts/1/log?tail=1").content == b"line 100\n"


def test_only_readers_get_logs(worker):
    task = attempted(worker, TEXT)
    assert Caller().get(f"tasks/{task.task_id}/log").status_code == 401
    assert Caller(make_key("spawn")).get(f"tasks/{task.task_id}/log").status_code == 403
