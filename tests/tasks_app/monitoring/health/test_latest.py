"""One look for all who ask: in one process, and of a crowd at a real web process."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx

from tasks_app.monitoring.health.background import Latest
from tasks_app.monitoring.health.checks import Health
from tasks_app.postgresql import clock
from tasks_app.version import running
from tests.daphne_server import serving
from tests.tasks_app.callers import make_key
from tests.tasks_app.notes import make_worker

CROWD = 40


class Look:
    """A look that lasts until it is let go, counted."""

    def __init__(self) -> None:
        self.count = 0
        self.may_end = threading.Event()

    def __call__(self) -> Health:
        self.count += 1
        self.may_end.wait(30)
        return made("healthy", str(self.count))


def made(status, message):
    return Health(status=status, message=message, queue="q", checked_at=datetime.now(UTC))


def overdue(waited_sec: float) -> Health:
    return made("unhealthy", f"nothing for {waited_sec} s")


def test_all_who_ask_at_once_share_one_check():
    look = Look()
    latest = Latest(look, overdue)
    with ThreadPoolExecutor(CROWD) as crowd:
        asked = [crowd.submit(latest.get, wait_sec=20.0) for _ in range(CROWD)]
        look.may_end.set()
        answers = {each.result().message for each in asked}
    assert answers <= {"1", "2"}, "two, where the second look ended while some had not yet asked"


def test_who_asks_while_a_check_hangs_gets_that_and_nothing_else():
    look = Look()
    latest = Latest(look, overdue)
    assert latest.get(wait_sec=0.1).message == "nothing for 0.1 s"
    look.may_end.set()
    assert latest.get(wait_sec=20.0).status == "healthy"


def test_a_check_that_raises_does_not_end_the_checks():
    looks = iter([RuntimeError("broken check"), made("healthy", "second")])

    def look() -> Health:
        found = next(looks, made("healthy", "later"))
        if isinstance(found, Exception):
            raise found
        return found

    assert Latest(look, overdue).get(wait_sec=20.0).status == "healthy"


def test_a_forgotten_result_is_not_given_again():
    look = Look()
    look.may_end.set()
    latest = Latest(look, overdue)
    first = latest.get(wait_sec=20.0)
    latest.forget()
    assert int(latest.get(wait_sec=20.0).message) > int(first.message)


def test_a_crowd_is_answered_from_few_checks_and_never_with_a_wrong_reason(live_environment):
    """Each look connects to the database once; the crowd's answers say when the look was."""
    make_worker(heartbeat_at=clock.now(), heartbeat_sec=3600)
    key = make_key("read")
    with serving(live_environment) as port:
        answers = asyncio.run(_ask_at_once(port, key))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers][:1]
    assert {answer.json()["status"] for answer in answers} == {"healthy"}
    assert {answer.json()["version"] for answer in answers} == {running()}
    looks = {answer.json()["checked_at"] for answer in answers}
    assert len(looks) < CROWD / 4
    assert all(int(answer.headers["Age"]) >= 0 for answer in answers)


async def _ask_at_once(port: int, key: str) -> list[httpx.Response]:
    async with httpx.AsyncClient(headers={"X-API-Key": key}, timeout=120) as client:
        url = f"http://127.0.0.1:{port}/api/absurd/health?checks=true"
        await client.get(url)
        return await asyncio.gather(*[client.get(url) for _ in range(CROWD)])
