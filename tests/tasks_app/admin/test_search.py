from __future__ import annotations

from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from pipeline_app.models import Measurement
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Run, Task
from tests.pipeline_app.console_rows import Night, make_nights
from tests.tasks_app.callers import make_user, queries_of_health
from tests.tasks_app.finished import completed
from tests.tasks_app.maintenance.test_archived_tasks import archive_all
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db
QUERIES_MOST = 15
MARKUP = "<b>field\u202e</b>\n2"


@pytest.fixture
def viewer() -> Client:
    client = Client()
    client.force_login(make_user("vera", "Viewer"))
    return client


@pytest.fixture
def nights(tmp_path, settings) -> list[Night]:
    settings.ABSURD_DATA_ROOTS = [tmp_path]
    return make_nights(tmp_path)


def search(client: Client, text: str) -> str:
    """Return where a search leads, or the page."""
    response = client.get(f"{reverse('admin:page_search')}?q={quote(text)}")
    assert response.status_code in (200, 302)
    return response["Location"] if response.status_code == 302 else response.content.decode()


def page_of(task: Task) -> str:
    return reverse("admin:tasks_app_task_change", args=[task.task_id])


def test_a_task_is_found_by_its_id_its_ends_and_a_line_with_it(viewer):
    task, other = spawn_note(), spawn_note()
    whole = str(task.task_id)
    for text in (whole, whole.replace("-", ""), f" '{whole.upper()}', ", f"https://a.org/admin/tasks_app/task/{whole}/",
                 whole[-8:], str(task), f"note {whole[-6:]}…"):  # fmt: skip
        assert search(viewer, text) == page_of(task), text
    both = search(viewer, whole[:6])
    assert page_of(task) in both and page_of(other) in both


@pytest.mark.parametrize("text", ["\u00a0", "\u2003\u2003", "\v", ";\u00a0;"])
def test_spaces_of_every_kind_alone_find_nothing(viewer, text):
    spawn_note()
    assert "a run id, or the beginning" in search(viewer, text)


def test_a_run_is_found_by_its_id_and_label_and_a_worker_as_pages_write_it(viewer, worker):
    run = Run.objects.create(workflow="standard-pipeline", label="3C48 deep")
    address = reverse("admin:tasks_app_run_change", args=[run.pk])
    assert search(viewer, str(run.run_id)) == address
    assert search(viewer, "3C48 d") == address
    at = reverse("admin:tasks_app_worker_change", args=[worker.pk])
    for text in (str(worker.pk), worker.label, str(worker), f"worker:{worker}"):
        assert search(viewer, text) == at, text
    make_worker(label="worker-10")
    assert at in search(viewer, "worker-1")


def test_a_failure_is_found_by_words_of_its_error_and_a_task_name_still_leads_to_its_tasks(viewer, worker):
    assert "words of the first line of an error" in search(viewer, "no solutions")
    task = spawn_note(max_retries=0)
    fail_attempt(claim_one(worker), "error", "note: no solutions for <antenna> 17\nmore", REPORT)
    for text in ("no solutions", "antenna 17", "SOLUT"):
        assert search(viewer, text) == page_of(task), text
    assert "What may be searched for" in search(viewer, "more")
    assert search(viewer, "note").endswith("?task_name=note")
    spawn_note(max_retries=0)
    fail_attempt(claim_one(worker), "error", "no solutions at all", REPORT)
    both = search(viewer, "no solutions")
    assert page_of(task) in both and "no solutions for &lt;antenna&gt; 17" in both


def test_an_observation_whose_run_was_started_is_not_listed_as_if_it_had_just_begun(viewer, nights):
    assert "run started" not in search(viewer, nights[0].observation.name[:8])


def test_an_observation_is_found_by_name_date_and_file_and_leads_there_beside_its_run(viewer, nights):
    row = nights[0].observation
    Run.objects.create(workflow="standard-pipeline", label=row.name)
    address = reverse("admin:pipeline_app_observation_change", args=[row.pk])
    for text in (row.name, f"/data/{row.name}_sb03.hdf5", row.name.replace("T", " ") + "Z"):
        assert search(viewer, text) == address, text
    listed = search(viewer, row.name[:10])
    assert address in listed and "standard-pipeline" in listed


def test_a_source_is_found_by_name_and_position(viewer, nights):
    source = Measurement.objects.filter(name="S02")[0]
    for text in ("S02", f"{source.ra_deg} {source.dec_deg}", "00:40:00 +16:06:00 r=1"):
        assert search(viewer, text).endswith("?name=S02"), text
    text = search(viewer, "S0")
    assert "?name=S01" in text and "?name=S03" in text


def test_what_is_not_there_says_what_may_be_searched_for_with_markup_and_marks_escaped(viewer):
    Run.objects.create(workflow="w", label=MARKUP)
    Run.objects.create(workflow="w", label=MARKUP)
    text = search(viewer, "<b>field")
    assert "&lt;b&gt;field\\u202e&lt;/b&gt;\\u000a2" in text
    text = search(viewer, "<script>\u202enothing")
    assert "Nothing is called &lt;script&gt;\\u202enothing." in text
    assert "digits" in text and "a position" in text
    assert "What may be searched for" in search(viewer, " ")


def test_each_person_finds_what_that_person_may_see(nights):
    task = spawn_note()
    client = Client()
    client.force_login(make_user("nemo"))
    assert client.get(reverse("admin:page_search"), {"q": str(task.task_id)}).status_code == 403
    assert "console-search" not in client.get("/admin/").content.decode()


def test_an_archived_task_is_found_too(viewer):
    task = completed(days=40)
    archive_all()
    assert not Task.objects.exists()
    assert search(viewer, str(task.task_id)[-8:]) == page_of(task)


@pytest.mark.parametrize("text", ["abcd", "S0", "2026-10", "10.0 16.1", "worker-1", "%_", "x" * 5000, ""])
def test_a_search_asks_few_queries_and_every_page_offers_it(viewer, nights, worker, text):
    spawn_note()
    of_health = queries_of_health()
    with CaptureQueriesContext(connection) as queries:
        viewer.get(reverse("admin:page_search"), {"q": text})
    assert len(queries) - of_health <= QUERIES_MOST, [each["sql"][:120] for each in queries]
    for address in ("/admin/", reverse("admin:tasks_app_run_changelist"), reverse("admin:page_sources")):
        assert 'id="console-search-text"' in viewer.get(address).content.decode()
