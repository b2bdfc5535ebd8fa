"""Swagger UI and Redoc: for readers, from our own files, under the strict policy, in a real browser."""

from __future__ import annotations

import pytest

from tests import daphne_server
from tests.security.chromium import look
from tests.tasks_app.callers import Caller, make_key

PAGES = ("docs/", "redoc/")


@pytest.mark.django_db
@pytest.mark.parametrize("page", PAGES)
def test_the_pages_are_for_readers_and_local_callers(page):
    refused = Caller().get(page)
    assert (refused.status_code, refused["Content-Type"]) == (401, "application/problem+json")
    assert Caller(make_key("spawn")).get(page).status_code == 403
    for reader in (Caller(make_key("read")), Caller(address="127.0.0.1")):
        answer = reader.get(page)
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.django_db(transaction=True)
def test_a_browser_without_internet_shows_every_operation_and_finds_nothing_to_block(live_environment, tmp_path):
    with daphne_server.serving(live_environment) as port:
        for number, page in enumerate(PAGES):
            address = f"http://127.0.0.1:{port}/api/absurd/{page}"
            html, log = look(address, tmp_path / f"profile-{number}")
            assert "Spawn" in html or "spawn_task" in html or "/api/absurd/tasks" in html, (
                f"{page}\n{html[-500:]}\n{log[-5000:]}"
            )
            # Redoc's footer names its maker with a picture of theirs, which is not loaded.
            blocked = [line for line in log.splitlines() if "Content Security Policy" in line]
            assert all("logo-mini.svg" in line for line in blocked), f"{page}\n{log[-5000:]}"
            assert "Uncaught" not in log, f"{page}\n{log[-5000:]}"
