"""Logs followed from the real web process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from django.db import connections

from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.lease import start_attempt
from tests.daphne_server import serving
from tests.tasks_app.callers import make_key
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)
FOLLOWERS = 40
"""Four times as many as the process has database connections."""


class Followed:
    """A log that is being written, and those who follow it."""

    def __init__(self, port: int, key: str, log: Path, claim: Claim) -> None:
        self.log, self.claim = log, claim
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/api/absurd/",
            headers={"X-API-Key": key},
            timeout=30,
            limits=httpx.Limits(max_connections=FOLLOWERS + 5),
        )
        self.got: dict[int, bytes] = {}

    async def follow(self, place: int) -> None:
        address = f"tasks/{self.claim.task_id}/log?follow=true"
        async with self.client.stream("GET", address) as response:
            response.raise_for_status()
            async for part in response.aiter_bytes():
                self.got[place] = self.got.get(place, b"") + part

    def write(self, text: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(text)

    async def until_all_have(self, text: bytes) -> None:
        async with asyncio.timeout(30):
            while [self.got.get(place) for place in range(FOLLOWERS)] != [text] * FOLLOWERS:
                await asyncio.sleep(0.05)


def complete(claim: Claim) -> None:
    try:
        complete_task(claim, {}, REPORT)
    finally:
        connections.close_all()


async def watch(followed: Followed) -> None:
    async with followed.client:
        tasks = [asyncio.create_task(followed.follow(place)) for place in range(FOLLOWERS)]
        await followed.until_all_have(b"begun\n")
        followed.write(b"half way\n")
        await followed.until_all_have(b"begun\nhalf way\n")
        beside = await followed.client.get("tasks", timeout=60)
        assert beside.json()["total"] == 1
        tasks[0].cancel()
        followed.write(b"last words\n")
        await asyncio.to_thread(complete, followed.claim)
        async with asyncio.timeout(30):
            await asyncio.gather(*tasks[1:])
    assert {followed.got[place] for place in range(1, FOLLOWERS)} == {b"begun\nhalf way\nlast words\n"}


def test_many_follow_a_log_until_its_attempt_ends_while_others_are_served(live_environment):
    key = make_key("read")
    spawn_note()
    claim = claim_one(make_worker())
    log = Path(live_environment["ABSURD_VAR"]) / "log" / "attempts" / str(claim.task_id) / "1.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"begun\n")
    start_attempt(claim, directory="", log_path=str(log))
    with serving(live_environment) as port:
        asyncio.run(watch(Followed(port, key, log, claim)))
