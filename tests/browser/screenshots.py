"""Pictures of every screen of the console, from a state directory that `absurd_simulate_nights` has filled.

    ABSURD_VAR=DIR python -m tests.browser.screenshots docs/img [NAME …] [--looks]

Real workers first cause the troubles of `tests/browser/troubles.py` there. With --looks the pictures are taken in the
dark theme and at 390 px too. Debian's Chromium must be installed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import django
from PIL import Image
from playwright.sync_api import Browser, Page, expect

LOOKS = ((1280, "light", ""), (1280, "dark", "-dark"), (390, "light", "-390"))
COLOURS = (256, 128, 64, 32, 16)
BYTES_MOST = 240_000
DRAWN = {
    "#viewer-canvas": "#viewer-canvas[data-ready]",
    "#swagger-ui": "#swagger-ui .opblock-summary-path",
    "redoc": "redoc h1",
}
"""What scripts draw, and by what one sees that they have."""
RENAME = """(names) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    for (const [from, to] of names) if (text.data.includes(from)) text.data = text.data.replaceAll(from, to);
  }
}"""
"""Where code lies on this machine, such as in a traceback, is shown as on an installed one."""
CHECKOUT = Path(__file__).resolve().parents[2]
HEIGHT_MOST_PX = 4000
PHOTOGRAPHER = "alice"


def picture(page: Page, path: Path) -> None:
    """Keep a picture of the page, with as many colours as a small file has room for."""
    height = min(HEIGHT_MOST_PX, page.evaluate("document.documentElement.scrollHeight"))
    width = page.viewport_size["width"] if page.viewport_size else 0
    page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    taken = Image.open(path).convert("RGB")
    # Beside a picture of the sky the few colours of a page would be lost.
    has_sky = page.locator("#viewer-canvas, .picture img").count() > 0
    method = Image.Quantize.MAXCOVERAGE if has_sky else Image.Quantize.MEDIANCUT
    for colours in COLOURS:
        taken.quantize(colours, dither=Image.Dither.NONE, method=method).save(path, optimize=True)
        if path.stat().st_size <= BYTES_MOST:
            break


def settle(page: Page) -> None:
    """Wait until everything that draws itself is drawn, and pictures below the window are loaded."""
    for drawing, drawn in DRAWN.items():
        if page.locator(drawing).count():
            page.wait_for_selector(drawn)
    expect(page.locator(".chart-canvas:not([data-drawn=yes])")).to_have_count(0, timeout=60_000)
    # Those in a closed part never load.
    for image in page.locator("img[loading=lazy]:visible").all():
        image.scroll_into_view_if_needed()
        image.evaluate("(image) => image.decode().catch(() => null)")
    page.evaluate("window.scrollTo(0, 0)")
    page.evaluate(
        RENAME, [[str(CHECKOUT), "/opt/absurd"], [sys.base_prefix, "/usr"], [sys.prefix, "/opt/absurd/.venv"]]
    )


def take(
    browser: Browser, address: str, paths: dict[str, str], anonymous: set[str], directory: Path, looks: int
) -> None:
    """Take the pictures of these paths by name in the first looks."""
    from tests.browser.visitor import Visitor
    from tests.tasks_app.callers import make_user

    password = secrets.token_urlsafe(15)
    person = make_user(f"{PHOTOGRAPHER}-{secrets.token_hex(2)}", "Operator", "Administrator")
    person.set_password(password)
    person.save()
    for width, theme, suffix in LOOKS[:looks]:
        for outside in (True, False):
            with Visitor.of(browser, address, width=width, theme=theme) as visitor:
                if not outside:
                    visitor.log_in(person.username, password)
                for name, path in paths.items():
                    if (name in anonymous) is outside:
                        visitor.page.goto(address + path)
                        settle(visitor.page)
                        picture(visitor.page, directory / f"{name}{suffix}.png")
    person.delete()


def main() -> None:
    """Take the pictures that were asked for, or all."""
    options = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    options.add_argument("directory", type=Path)
    options.add_argument("names", nargs="*", metavar="NAME", help="default: every screen")
    options.add_argument("--no-troubles", action="store_true", help="picture what there is")
    options.add_argument("--looks", action="store_true", help="also in the dark theme and at 390 px")
    chosen = options.parse_intermixed_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "absurd_project.settings")
    os.environ["ABSURD_DIAGNOSTICS"] = "true"
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright's event loop runs in this thread
    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from playwright.sync_api import sync_playwright

    from absurd_project.local import servers
    from tests import daphne_server
    from tests.browser import troubles
    from tests.browser.screens import REFUSALS, SCREENS

    chosen.directory.mkdir(parents=True, exist_ok=True)
    var = settings.ABSURD_VAR
    servers.ensure(var)
    call_command("migrate", verbosity=0)
    environment = os.environ | {
        "ABSURD_VAR": str(var),
        "ABSURD_ENABLED": "true",
        "ABSURD_DATA_ROOTS": str(var / "data"),
    }
    try:
        with (
            tempfile.TemporaryDirectory() as logs,
            nullcontext() if chosen.no_troubles else troubles.made(environment, Path(logs)),
            daphne_server.serving(environment) as port,
            sync_playwright() as playwright,
        ):
            names = chosen.names or [*SCREENS, *REFUSALS]
            paths = {name: REFUSALS.get(name) or SCREENS[name].address for name in names}
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            anonymous = {name for name in names if name in SCREENS and SCREENS[name].anonymous}
            looks = len(LOOKS) if chosen.looks else 1
            take(browser, f"http://127.0.0.1:{port}", paths, anonymous, chosen.directory, looks)
            browser.close()
    finally:
        servers.stop_started(var)


if __name__ == "__main__":
    main()
