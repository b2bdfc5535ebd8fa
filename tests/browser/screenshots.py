"""Pictures of the console's pages, from a state directory that `absurd_simulate_nights` has filled.

    ABSURD_VAR=DIR python -m tests.browser.screenshots docs/img

A web process is started on that directory for as long as it takes; Debian's Chromium must be installed.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import django


def addresses() -> dict[str, str]:
    """Return the pages that are worth a picture, by name."""
    from django.urls import reverse

    from pipeline_app.admin.sources import find
    from pipeline_app.models import Calibration, Observation, Product
    from tasks_app.models import Task, Worker

    image = Product.objects.filter(kind="image").order_by("-id")[0]
    usable = list(Calibration.objects.exclude(verdict="fail").order_by("-mid_mjd")[:2])
    refused = Calibration.objects.filter(verdict="fail").order_by("-mid_mjd")[0]
    incomplete = next(each for each in Observation.objects.order_by("-start_mjd") if each.missing_subbands())
    varies = max(find(""), key=lambda source: (source.varies and source.varies.eta) or 0.0)
    failed = Task.objects.filter(status="failed", run__isnull=False).order_by("-id")[0]
    return {
        "control-room": reverse("admin:index"),
        "tasks": reverse("admin:tasks_app_task_changelist"),
        "task": reverse("admin:tasks_app_task_change", args=[failed.task_id]),
        "run": reverse("admin:tasks_app_run_change", args=[failed.run_id]),
        "worker": reverse("admin:tasks_app_worker_change", args=[Worker.objects.order_by("-started_at")[0].pk]),
        "observations": reverse("admin:pipeline_app_observation_changelist"),
        "tile": reverse("admin:pipeline_app_observation_change", args=[incomplete.pk]),
        "images": reverse("admin:page_images"),
        "image": reverse("admin:page_image", args=[image.pk]),
        "viewer": reverse("admin:page_viewer", args=[image.pk]),
        "calibrations": reverse("admin:pipeline_app_calibration_changelist"),
        "calibration": f"{reverse('admin:pipeline_app_calibration_change', args=[usable[0].pk])}?with={usable[-1].pk}",
        "calibration-refused": reverse("admin:pipeline_app_calibration_change", args=[refused.pk]),
        "sources": reverse("admin:page_sources"),
        "source": varies.address,
        "storage": reverse("admin:page_storage"),
    }


def main(directory: str) -> None:
    """Take the pictures in the light theme at 1280 px; those of a few pages at 390 px and in the dark theme too."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "absurd_project.settings")
    django.setup()
    from django.conf import settings
    from playwright.sync_api import sync_playwright

    from absurd_project import accounts
    from absurd_project.local import servers
    from tests import daphne_server
    from tests.browser.visitor import SCREENSHOTS, Visitor

    os.environ[SCREENSHOTS] = directory
    servers.ensure(settings.ABSURD_VAR)
    pages = addresses()
    password = accounts.password_file(settings.ABSURD_VAR).read_text(encoding="utf-8").strip()
    environment = os.environ | {"ABSURD_VAR": str(settings.ABSURD_VAR), "ABSURD_ENABLED": "true"}
    with daphne_server.serving(environment) as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width, theme, names in (
            (1280, "light", list(pages)),
            (1280, "dark", ["control-room", "calibration"]),
            (390, "light", ["control-room", "image"]),
        ):
            suffix = "" if (width, theme) == (1280, "light") else f"-{theme if width == 1280 else width}"
            with Visitor.of(browser, f"http://127.0.0.1:{port}", width=width, theme=theme) as visitor:
                visitor.log_in(accounts.OPERATOR, password)
                for name in names:
                    page = visitor.open(pages[name])
                    if name == "viewer":
                        page.wait_for_selector("#viewer-canvas[data-ready]")
                    # Pictures load when they come into view; those in a closed part never do.
                    for picture in page.locator("img[loading=lazy]:visible").all():
                        picture.scroll_into_view_if_needed()
                        picture.evaluate("(image) => image.decode().catch(() => null)")
                    visitor.look(name + suffix)
    servers.stop_started(settings.ABSURD_VAR)


if __name__ == "__main__":
    main(str(Path(sys.argv[1])))
