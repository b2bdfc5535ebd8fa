"""Somebody at a browser: what is asked of a page, and what it complained about meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, expect

SCREENSHOTS = "CONSOLE_SCREENSHOTS"
"""A directory in which `Visitor.look` keeps a picture of each page; without it none is taken."""
SERIOUS = ("serious", "critical")
expect.set_options(timeout=60_000)  # as long as for clicks: a busy machine is no fault of a page


class Visitor:
    """One browser context with one page."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.clicks = 0
        page.on("request", self._note_request)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("console", self._note_message)

    @classmethod
    @contextlib.contextmanager
    def of(cls, browser: Browser, address: str, *, width: int, theme: str) -> Iterator[Visitor]:
        """Yield somebody with a window of that width in px, in the light or the dark theme."""
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        context.set_default_timeout(60_000)
        host = urlsplit(address).netloc
        context.route(
            "**/*", lambda route: route.continue_() if urlsplit(route.request.url).netloc == host else route.abort()
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        try:
            yield cls(context.new_page(), address)
        finally:
            context.close()

    def log_in(self, name: str, password: str) -> None:
        self.open("/admin/login/?next=/admin/status/")
        self.page.fill("#id_username", name)
        self.page.fill("#id_password", password)
        self.page.click("input[type=submit]")
        self.page.wait_for_selector("#console-status")

    def open(self, path: str) -> Page:
        """Go to a page; it must be there."""
        answer = self.page.goto(self.address + path)
        assert answer is not None
        assert answer.status < 400, f"{path}: {answer.status}"
        return self.page

    def click(self, selector: str) -> None:
        """Click once, and count it."""
        self.clicks += 1
        self.page.click(selector)

    def look(self, name: str) -> None:
        """Wait until charts are drawn, and keep a picture of the page where a directory for pictures is given."""
        expect(self.page.locator(".chart-canvas:not([data-drawn=yes])")).to_have_count(0, timeout=60_000)
        if directory := os.environ.get(SCREENSHOTS):
            Path(directory).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)

    def serious_faults(self) -> list[str]:
        """Return what axe-core finds serious or worse on the page."""
        # Loading imported style sheets again, axe would use inline styles, which the policy stops.
        found = Axe().run(self.page, options={"preload": False}).response["violations"]
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]

    def overflow_px(self) -> int:
        """Return by how much the page is wider than its window, once its style sheets are there."""
        self.page.wait_for_load_state()
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def check(self) -> None:
        """Fail if a script failed, the policy stopped something, or another host was asked for anything."""
        outside = [url for url in self.requests if urlsplit(url).scheme in ("http", "https", "ws", "wss")
                   and urlsplit(url).netloc != urlsplit(self.address).netloc]  # fmt: skip
        assert not outside, outside
        assert self.complaints == [], self.complaints

    def _note_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _note_message(self, message) -> None:
        if message.type == "error" and "WebSocket" not in message.text:
            self.complaints.append(f"{message.text} ({message.location['url']})")
