"""How many requests a minute pass: by key, person and address, over one Redis, and without it."""

from __future__ import annotations

import time

import pytest

from tasks_app.auth import rate_limiter
from tasks_app.auth.rate_limiter import wait_sec
from tests.tasks_app.callers import Caller, log_in, make_key

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def a_minute_that_lasts(monkeypatch):
    """Have all requests of a test fall into one minute, and into no other test's."""
    moment = time.time() // 60 * 60 + 60 * (time.monotonic_ns() % 1_000_000) + 15
    monkeypatch.setattr(rate_limiter.time, "time", lambda: moment)
    monkeypatch.setattr(rate_limiter, "_away_until", 0.0)


@pytest.fixture
def limits(settings):
    settings.ABSURD_THROTTLE = {"key_per_min": 3, "person_per_min": 2, "address_per_min": 2, "refused_per_min": 2}


def test_a_key_that_asks_too_often_is_told_when_to_come_back_and_others_are_not_kept_out(limits):
    busy, other = Caller(make_key("read")), Caller(make_key("read"))
    assert [busy.get("queues").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = busy.get("tasks")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.body["code"], answer.headers["Retry-After"]) == ("throttled", "45")
    assert other.get("queues").status_code == 200


def test_people_and_addresses_are_counted_for_themselves(limits):
    vera = log_in("vera", "Viewer")
    assert [vera.get("queues").status_code for _ in range(3)] == [200, 200, 429]
    local = Caller(address="127.0.0.1")
    assert [local.get("queues").status_code for _ in range(3)] == [200, 200, 429]
    assert Caller(address="::1").get("queues").status_code == 200


def test_who_is_refused_too_often_gets_429_with_a_key_or_without(limits):
    stranger, guesser = Caller(address="192.0.2.9"), Caller("wrong.key", address="192.0.2.9")
    assert [stranger.get("tasks").status_code, guesser.get("tasks").status_code] == [401, 401]
    assert [stranger.get("tasks").status_code, guesser.get("tasks").status_code] == [429, 429]
    assert Caller(make_key("read"), address="192.0.2.9").get("queues").status_code == 200


def test_health_is_never_kept_out(limits):
    assert {Caller(address="192.0.2.10").get("health").status_code for _ in range(6)} == {503}


def test_the_defaults_let_twenty_requests_a_second_of_one_key_pass(settings):
    assert settings.ABSURD_THROTTLE["key_per_min"] >= 3 * 20 * 60


def test_a_limit_of_nothing_counts_nothing(settings):
    settings.ABSURD_THROTTLE = {"key_per_min": 0}
    assert [wait_sec("key", "a") for _ in range(3)] == [None] * 3


def test_without_redis_requests_pass_at_once_and_are_counted_here(limits, settings, caplog):
    settings.ABSURD_REDIS_URL = "unix:///nowhere/valkey.socket"
    api = Caller(make_key("read"))
    assert [api.get("queues").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert caplog.text.count("Redis does not answer") == 1
