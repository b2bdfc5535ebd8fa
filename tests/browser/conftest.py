"""A real browser on a real web process: Debian's Chromium, driven by Playwright, with every other host out of reach."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tasks_app.testing import registered
from tests import daphne_server
from tests.browser.visitor import Visitor
from tests.tasks_app.callers import make_user
from tests.tasks_app.notes import GATHER, NOTE

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PASSWORD = "correct horse battery"  # what make_user sets


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield Chromium. Without one the tests are skipped, except in CI.

    It ends with the module: while it is open, its event loop runs in this thread, where no other one can run then.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and os.environ.get("CI"):
        pytest.fail("no Chromium is installed: apt-get install chromium")
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    # Playwright's event loop stays in this thread, which Django would take for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=found, args=arguments)
            yield browser
            browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(autouse=True)
def claims_outlast_the_test(settings: Any) -> None:
    """The web process sweeps: it would return what no worker renews, in the middle of a test on a slow machine."""
    settings.ABSURD_LEASE_SEC = 3600  # which a task gets where it is spawned


@pytest.fixture(autouse=True)
def notes_are_registered() -> Iterator[None]:
    with registered(NOTE, GATHER):
        yield


@pytest.fixture
def address(browser: Browser, live_environment: dict[str, str]) -> Iterator[str]:
    """Yield the address of a web process on the test's database."""
    with daphne_server.serving(live_environment) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Callable[..., Visitor]]:
    """Yield a function that logs somebody of a group in; whatever the browser complained about fails the test."""
    visitors: list[Visitor] = []
    with ExitStack() as stack:

        def log_in(group: str = "Operator", *, width: int = 1280, theme: str = "light") -> Visitor:
            name = f"{group.lower()}-{len(visitors)}"
            make_user(name, group)
            visitor = stack.enter_context(Visitor.of(browser, address, width=width, theme=theme))
            visitor.log_in(name, PASSWORD)
            visitors.append(visitor)
            return visitor

        yield log_in
        for visitor in visitors:
            visitor.check()
