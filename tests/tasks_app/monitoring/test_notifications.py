"""What needs attention reaches people: real mail and web servers, each fault once, grouped, outside quiet hours."""

from __future__ import annotations

import email
import json
import socketserver
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import policy
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline_app.models import Observation
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Notice, Task, Worker
from tasks_app.monitoring import notifications
from tasks_app.postgresql import clock
from tests.pipeline_app.test_workflows import make_tile
from tests.socket_server import running
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


class MailServer(socketserver.ThreadingTCPServer):
    """As much of SMTP as a client needs to hand over a message."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.messages: list[bytes] = []


class _Mail(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (text := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(text)
                self.server.messages.append(b"".join(lines))
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


class HookServer(HTTPServer):
    """Keeps what is posted to it, and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.bodies: list[dict] = []
        self.status = 204


class _Hook(BaseHTTPRequestHandler):
    server: HookServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mail(settings) -> Iterator[MailServer]:
    server = MailServer()
    settings.ABSURD_SMTP_URL = f"smtp://127.0.0.1:{server.server_address[1]}"
    yield from running(server)


@pytest.fixture
def hook(settings) -> Iterator[HookServer]:
    server = HookServer()
    settings.ABSURD_NOTIFY = (f"http://127.0.0.1:{server.server_address[1]}/hook",)
    settings.ABSURD_NOTIFY_EVERY_SEC = 0.0
    yield from running(server)


def lose(label: str) -> None:
    Worker.objects.filter(pk=make_worker(label=label).pk).update(heartbeat_at=clock.now() - timedelta(hours=1))


def pass_time(by: timedelta = notifications.STANDS_FOR) -> None:
    """Let all that is stored be older by this."""
    for notice in Notice.objects.all():
        notice.first_seen_at -= by
        notice.last_seen_at -= by
        notice.sent_at = notice.sent_at and notice.sent_at - by
        notice.save()


def messages(hook: HookServer) -> list[list[str]]:
    return [[fault["message"].split(" (pid")[0] for fault in body["faults"]] for body in hook.bodies]


def test_a_fault_is_sent_once_when_it_has_stood_for_a_while(worker, hook):
    assert notifications.look() == 0
    lose("imager-7")
    assert notifications.look() == 0, "it has just been seen"
    pass_time()
    assert notifications.look() == 1
    (body,) = hook.bodies
    (fault,) = body["faults"]
    assert (fault["check"], fault["state"]) == ("lost workers", "warn")
    assert "imager-7" in fault["message"] and "absurd_acknowledge lost-workers" in fault["remedy"]
    for _ in range(3):  # as another process or one that was restarted: all it knows is in the database
        pass_time()
        assert notifications.look() == 0
    lose("imager-8")
    notifications.look()
    pass_time()
    assert notifications.look() == 1
    assert ["imager-8" in text for text in messages(hook)[1]] == [True]


def test_a_fault_that_came_back_soon_is_the_same_and_later_a_new_one(worker, hook):
    lose("imager-7")
    notifications.look()
    pass_time()
    notifications.look()
    Worker.objects.filter(label="imager-7").update(heartbeat_at=clock.now())
    notifications.look()
    lose_again = Worker.objects.filter(label="imager-7")
    lose_again.update(heartbeat_at=clock.now() - timedelta(hours=1))
    pass_time()
    assert notifications.look() == 0
    lose_again.update(heartbeat_at=clock.now())
    pass_time(notifications.GONE_AFTER)
    assert notifications.look() == 1, "it is over"
    notifications.look()
    assert not Notice.objects.exists()
    lose_again.update(heartbeat_at=clock.now() - timedelta(hours=1))
    notifications.look()
    pass_time()
    assert notifications.look() == 1


def test_faults_that_come_together_are_one_message_and_the_next_one_waits(worker, hook, settings):
    settings.ABSURD_NOTIFY_EVERY_SEC = 300.0
    lose("imager-1"), lose("imager-2")
    notifications.look()
    pass_time()
    assert notifications.look() == 2
    lose("imager-3")
    notifications.look()
    pass_time()
    assert notifications.look() == 0
    lose("imager-4")
    notifications.look()
    pass_time(timedelta(minutes=5))
    assert notifications.look() == 2
    assert [len(each) for each in messages(hook)] == [2, 2]


def test_quiet_hours_hold_back_warnings_and_let_through_what_is_bad(worker, hook, settings):
    settings.ABSURD_NOTIFY_QUIET = (0, 24 * 60)
    lose("imager-7")
    notifications.look()
    pass_time()
    assert notifications.look() == 0
    settings.ABSURD_HEALTH = settings.ABSURD_HEALTH | {"disk_free_bad_fraction": 1.0}
    notifications.look()
    pass_time()
    notifications.look()
    assert {fault["state"] for fault in hook.bodies[0]["faults"]} == {"bad"}
    settings.ABSURD_NOTIFY_QUIET = None
    assert notifications.look() == 1
    assert "imager-7" in hook.bodies[1]["faults"][0]["message"]


def test_that_a_fault_is_over_is_sent_when_it_was_sent_itself_and_has_not_got_worse(worker, hook, settings):
    settings.ABSURD_NOTIFY_EVERY_SEC = 3600.0
    lose("imager-7")
    notifications.look()
    pass_time()
    assert notifications.look() == 1
    lose("imager-8")
    notifications.look()
    Worker.objects.update(heartbeat_at=clock.now())
    pass_time(notifications.GONE_AFTER)
    assert notifications.look() == 0, "the last message was sent within the hour"
    pass_time(timedelta(hours=1))
    Worker.objects.update(heartbeat_at=clock.now())
    assert notifications.look() == 1
    (over,) = hook.bodies[1]["faults"]
    assert (over["state"], over["check"], over["remedy"]) == ("over", "lost workers", "")
    assert "imager-7" in over["message"], "nobody had heard of the other one"
    pass_time(timedelta(hours=1))
    Worker.objects.update(heartbeat_at=clock.now())
    notifications.look()
    assert not Notice.objects.exists()


def test_a_fault_that_got_worse_is_not_over(worker, hook, settings):
    least = settings.ABSURD_HEALTH | {"disk_free_warn_fraction": 1.0, "disk_free_bad_fraction": 0.0}
    for settings.ABSURD_HEALTH in (least, least | {"disk_free_bad_fraction": 1.0}):
        notifications.look()
        pass_time()
        notifications.look()
    pass_time(notifications.GONE_AFTER)
    assert notifications.look() == 0
    assert {fault["state"] for body in hook.bodies for fault in body["faults"]} == {"warn", "bad"}


def _fail_three(worker: Worker) -> None:
    for _ in range(3):
        spawn_note()
        fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)


def _quarantine(worker: Worker) -> None:
    spawn_note()
    for _ in range(3):
        Task.objects.filter(status="pending").update(hold=0, runnable_at=clock.now())
        fail_attempt(claim_one(worker), "killed", "SIGSEGV", REPORT)


def _crash(worker: Worker) -> None:
    moment = clock.now() - timedelta(minutes=5)
    for _ in range(3):
        Worker.objects.filter(pk=make_worker(label="imager-7").pk).update(heartbeat_at=moment, started_at=moment)
    make_worker(label="imager-7")


def _be_late(worker: Worker) -> None:
    row = make_tile("2026-10-01T06:00:00").observation
    Observation.objects.filter(pk=row.pk).update(last_file_at=clock.now() - timedelta(hours=2), state="ready")


@pytest.mark.parametrize(
    ("check", "state", "cause"),
    [
        ("failures", "warn", _fail_three),
        ("quarantine", "warn", _quarantine),
        ("workers", "bad", lambda worker: (spawn_note(), worker.delete())),
        ("depth", "warn", lambda worker: spawn_note()),
        ("late tiles", "warn", _be_late),
        ("crash loops", "warn", _crash),
        ("lost workers", "warn", lambda worker: lose("imager-7")),
    ],
)
def test_each_kind_of_fault_is_sent_with_what_to_do(worker, hook, settings, check, state, cause):
    if check == "depth":
        settings.ABSURD_HEALTH = settings.ABSURD_HEALTH | {"depth_warn": 0.0}
    cause(worker)
    notifications.look()
    assert not hook.bodies
    pass_time()
    assert notifications.look() >= 1
    (fault,) = [fault for fault in hook.bodies[0]["faults"] if fault["check"] == check]
    assert fault["state"] == state and fault["message"] and fault["remedy"]


@pytest.mark.parametrize(
    ("hours", "quiet"),
    [((22 * 60, 7 * 60), (23, 0, 6)), ((1 * 60, 3 * 60), (1, 2)), ((7 * 60, 7 * 60), ())],
)
def test_quiet_hours_may_pass_midnight(settings, hours, quiet):
    settings.ABSURD_NOTIFY_QUIET = hours
    found = {hour for hour in range(24) if notifications.is_quiet(datetime(2026, 1, 1, hour, 30, tzinfo=UTC))}
    assert found >= set(quiet)
    assert len(found) == (hours[1] - hours[0]) // 60 % 24


def test_mail_and_slack_have_the_fault_and_what_helps(worker, hook, mail, settings):
    settings.ABSURD_NOTIFY = ("mailto:ops@example.org", f"slack+{settings.ABSURD_NOTIFY[0]}")
    lose("imager-7")
    notifications.look()
    pass_time()
    assert notifications.look() == 1
    message = email.message_from_bytes(mail.messages[0], policy=policy.default)
    assert message["To"] == "ops@example.org"
    assert message["Subject"].startswith("[absurd] worker imager-7")
    text = message.get_content()
    assert "warn: lost workers: worker imager-7" in text and "To do: check its host" in text
    assert "imager-7" in hook.bodies[0]["text"]


def test_what_nobody_received_is_tried_again_and_not_for_ever(worker, hook, settings, caplog):
    hook.status = 500
    settings.ABSURD_NOTIFY = (f"{settings.ABSURD_NOTIFY[0]}/secret-of-the-hook",)
    lose("imager-7")
    notifications.look()
    pass_time()
    for _ in range(5):
        assert notifications.look() == 0
    assert len(hook.bodies) == notifications.TRIES_MOST
    assert "no notice could be sent to 127.0.0.1" in caplog.text
    assert "secret-of-the-hook" not in " ".join(
        r.getMessage() for r in caplog.records if r.name.startswith("tasks_app")
    )
