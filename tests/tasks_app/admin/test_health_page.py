"""The page of health, and the runbook that it leads to."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tasks_app.admin import documents
from tasks_app.models import LastBackup, Worker
from tasks_app.monitoring import health
from tasks_app.postgresql import clock
from tasks_app.version import running
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.notes import make_worker

pytestmark = pytest.mark.django_db


def test_a_fault_stands_first_with_value_threshold_remedy_runbook_and_buttons(worker):
    lost = make_worker(label="imager-7")
    Worker.objects.filter(pk=lost.pk).update(heartbeat_at=clock.now() - timedelta(hours=1))
    text = page(log_in("Operator"), "/admin/health/")
    assert f"version {running()}" in text
    first = text[text.index("<tbody>") : text.index("</tr>", text.index("<tbody>"))]
    assert "pill-warn" in first
    assert 'href="/admin/help/operating/#lost-workers"' in first
    assert "worker imager-7@" in first
    assert f"/admin/tasks_app/worker/{lost.pk}/change/" in first
    assert "?finding=lost-workers" in first
    assert re.findall(r'class="number"[^>]*>([^<]*)<', first) == ["1", "0"]
    assert "?finding=" not in page(log_in("Viewer", name="guest"), "/admin/health/")


def test_values_and_thresholds_have_units(worker):
    LastBackup.objects.create(made_at=clock.now(), path="/backups/a.dump", host="vm", size_bytes=1)
    text = page(log_in("Viewer"), "/admin/health/")
    thresholds = {"database": "500 ms", "disk": "15%", "feed": "5.0 s", "depth": "500", "backups": "1 d 12 h"}
    for name, threshold in (thresholds | {"late tiles": "1 h 00 min"}).items():
        row = text[text.index(f'runbook">{name}</a>') :]
        assert re.findall(r'class="number"[^>]*>([^<]*)<', row)[1] == threshold, name


def test_a_state_keeps_its_date_until_it_changes(worker):
    def since():
        return next(check for check in health.check().checks if check.name == "lost workers").since

    first = since()
    assert since() == first
    lost = make_worker(label="imager-7")
    Worker.objects.filter(pk=lost.pk).update(heartbeat_at=clock.now() - timedelta(hours=1))
    changed = since()
    assert changed > first
    assert since() == changed


def test_every_check_has_an_entry_in_the_runbook(worker):
    text = page(log_in("Viewer"), documents.address(documents.RUNBOOK))
    missing = [check.name for check in health.check().checks if f'id="{check.name.replace(" ", "-")}"' not in text]
    assert missing == []


def test_every_link_of_a_document_leads_somewhere_and_nothing_else_is_served():
    viewer = log_in("Viewer")
    found = set()
    for name in documents.names():
        text = page(viewer, f"/admin/help/{name}/")
        assert text.count("<h1>") == 1
        # A comment of the source is no text of the page; where the document speaks of one, it is code.
        assert "&lt;!--" not in text.replace("<code>&lt;!--", ""), name
        links = re.findall(
            r'href="([^"#]+)(?:#[^"]*)?"', text.split('<article class="document">')[1].split("</article>")[0]
        )
        found |= {link for link in links if not link.startswith("http")}
    assert {"/admin/help/feed/", "/admin/help/decisions/", "/admin/help/0002-child-processes/"} <= found
    assert {link for link in found if viewer.get(link).status_code != 200} == set()
    assert {"settings", "commands", "rest-api"} <= set(documents.names())
    answer = viewer.get("/admin/help/changelog/")
    assert answer.status_code == 404
    assert "there is no document" in answer.content.decode()
    assert viewer.get("/admin/help/img/nothing.png").status_code == 404
