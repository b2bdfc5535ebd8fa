"""Guessing passwords: who is locked out, until when, who is not, and what is kept of it."""

from __future__ import annotations

import contextlib
import random
import re
from datetime import timedelta

import pytest
from axes.models import AccessAttempt, AccessAttemptExpiration, AccessFailureLog, AccessLog
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory

from absurd_project import login_protection
from tasks_app.postgresql import clock
from tests.tasks_app.callers import make_user

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"


def attempt(name: str, password: str, address: str = "192.0.2.7", **headers: str):
    form = {"username": name, "password": password, "next": "/admin/"}
    return Client(headers=headers).post(LOGIN, form, REMOTE_ADDR=address)


def lock_out(name: str = "olga", **headers: str):
    return [attempt(name, f"guess number {n}", **headers) for n in range(5)][-1]


@pytest.fixture(autouse=True)
def olga(settings):
    settings.ABSURD_THROTTLE = {}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick ones, to try many
    return make_user("olga", "Operator")


def test_after_five_failures_the_name_is_locked_out_from_that_address_and_told_until_when():
    answer = lock_out()
    assert (answer.status_code, 890 < int(answer["Retry-After"]) <= 900) == (429, True)
    assert re.search(r"try again after \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", answer.content.decode())
    assert attempt("olga", PASSWORD).status_code == 429
    assert attempt("olga", PASSWORD, "192.0.2.8").status_code == 302
    make_user("vera", "Viewer")
    assert attempt("vera", PASSWORD).status_code == 302


def test_a_program_is_told_as_a_problem():
    answer = lock_out(Accept="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (429, "application/problem+json")
    assert answer.json()["code"] == "locked_out"


def test_the_lockout_ends_and_trying_meanwhile_does_not_prolong_it():
    lock_out()
    ends = AccessAttemptExpiration.objects.get().expires_at
    attempt("olga", PASSWORD)
    assert AccessAttemptExpiration.objects.get().expires_at == ends
    AccessAttempt.objects.update(attempt_time=clock.now() - timedelta(seconds=901))
    AccessAttemptExpiration.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    assert attempt("olga", PASSWORD).status_code == 302


def test_four_failures_and_a_success_begin_anew():
    for _ in range(2):
        for n in range(4):
            assert attempt("olga", f"guess number {n}").status_code == 200
        assert attempt("olga", PASSWORD).status_code == 302


def test_a_forwarded_address_frees_nobody():
    for n in range(5):
        answer = attempt("olga", "guess", **{"X-Forwarded-For": f"203.0.113.{n}"})
    assert answer.status_code == 429


def test_behind_a_configured_proxy_its_clients_are_told_apart(settings):
    from ipaddress import ip_network

    settings.ABSURD_PROXIES = (ip_network("127.0.0.1"),)
    for _ in range(5):
        answer = attempt("olga", "guess", "127.0.0.1", **{"X-Forwarded-For": "203.0.113.1"})
    assert answer.status_code == 429
    assert attempt("olga", PASSWORD, "127.0.0.1", **{"X-Forwarded-For": "203.0.113.2"}).status_code == 302


def test_administrators_see_the_records_and_end_a_lockout_and_others_do_neither():
    lock_out()
    ada, vera = Client(), Client()
    ada.force_login(make_user("ada", "Administrator"))
    vera.force_login(make_user("vera", "Viewer", "Operator"))
    for name in ("accessattempt", "accesslog"):
        assert vera.get(f"/admin/axes/{name}/").status_code == 403
        assert ada.get(f"/admin/axes/{name}/").status_code == 200
    found = AccessAttempt.objects.get()
    page = ada.get(f"/admin/axes/accessattempt/{found.pk}/change/").content.decode()
    assert "192.0.2.7" in page
    ada.post(f"/admin/axes/accessattempt/{found.pk}/delete/", {"post": "yes"})
    assert attempt("olga", PASSWORD).status_code == 302


def test_the_log_has_failed_logins_and_no_others(caplog):
    attempt("olga", "wrong")
    assert "New login failure" in caplog.text
    caplog.clear()
    assert attempt("olga", PASSWORD).status_code == 302
    assert "AXES" not in caplog.text


def test_what_is_kept_and_logged_of_logins_has_names_and_addresses_but_no_passwords(caplog):
    lock_out()
    attempt("olga", PASSWORD, "192.0.2.8")
    assert not AccessFailureLog.objects.exists()
    kept = str([list(each.objects.values()) for each in (AccessAttempt, AccessLog)])
    for text in (kept, caplog.text):
        assert "olga" in text and "192.0.2.7" in text
        assert "guess number" not in text and PASSWORD not in text
    assert "csrfmiddlewaretoken" not in kept or "****" in kept


def test_old_records_and_expired_sessions_are_cleaned_away():
    lock_out()
    attempt("olga", PASSWORD, "192.0.2.8")
    login_protection.clean_up()
    assert (AccessAttempt.objects.count(), AccessLog.objects.count(), Session.objects.count()) == (1, 1, 1)
    old = clock.now() - timedelta(days=login_protection.KEPT_DAYS + 1)
    AccessAttemptExpiration.objects.update(expires_at=old)
    AccessLog.objects.update(attempt_time=old)
    Session.objects.update(expire_date=old)
    login_protection.clean_up()
    for model in (AccessAttempt, AccessLog, Session):
        assert not model.objects.exists()


def test_an_address_tries_a_few_logins_a_minute_and_others_go_on(settings):
    settings.ABSURD_THROTTLE = {"login_per_min": 3}
    address = f"198.51.100.{random.randrange(1, 255)}"
    answers = [attempt(f"nobody-{n}", "guess", address) for n in range(8)]
    assert 429 in {answer.status_code for answer in answers}
    assert 0 < int(answers[-1]["Retry-After"]) <= 60
    assert AccessAttempt.objects.filter(ip_address=address).count() <= 6, "more than two minutes' worth were tried"
    assert attempt("olga", PASSWORD, "192.0.2.9").status_code == 302


def test_few_passwords_are_checked_at_a_time(monkeypatch):
    monkeypatch.setattr(login_protection, "WAIT_SEC", 0.01)
    with contextlib.ExitStack() as busy:
        for _ in range(login_protection.SLOTS):
            assert busy.enter_context(login_protection.admitted(RequestFactory().post(LOGIN))) is None
        answer = attempt("olga", PASSWORD)
        assert (answer.status_code, answer["Retry-After"]) == (429, "2")
        assert attempt("olga", PASSWORD, Accept="application/json").json()["code"] == "throttled"
        assert Client().get(LOGIN).status_code == 200
    assert attempt("olga", PASSWORD).status_code == 302
    assert not AccessAttempt.objects.exists()
