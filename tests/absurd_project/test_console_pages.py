"""Every page of the console, and every list narrowed in every way, with rows behind each.

Tables of a few thousand rows get the statistics of large ones, so that the planner chooses as it does there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from tasks_app.admin import event_filters, reading
from tasks_app.models import Queue
from tasks_app.monitoring import health
from tasks_app.operations.queues import set_limit
from tests.benchmark import console_rows
from tests.benchmark.console import NO_PAGES, QUERIES_MOST, Place, patterns, places, queries_of
from tests.security.test_console_matrix import NOBODY, PUBLIC, least
from tests.tasks_app.callers import make_key, make_user

pytestmark = pytest.mark.django_db

EXTENT = console_rows.Extent(tasks=3_000, archived=400, with_history=1_000, pending=200, files_of=20, tile_sec=100_000)
LARGE = (
    "tasks_app_task", "tasks_app_attempt", "tasks_app_taskevent", "tasks_app_archivedtask", "tasks_app_run",
    "tasks_app_taskdependency", "pipeline_app_observation", "pipeline_app_product", "pipeline_app_measurement",
    "pipeline_app_subbandfile",
)  # fmt: skip
TIMES_LARGER = 300
MANY_VALUES = 50
CHOICES = 2
"""Of each filter."""
OCCURRING = "SELECT DISTINCT"
"""The values that a filter offers, and the strips of the gallery, are kept for minutes."""
NIGHTS_OF_A_MONTH = 'SELECT FLOOR("pipeline_app_observation"."start_mjd") AS "night"'
"""The calendar is kept for half a minute. Ten thousand observations have as many runs: to look these up one by one or
to read them all costs about the same, and which is estimated cheaper depends on what other tests left in the files."""
STATES_OF_RUNS = "WITH wanted"
"""A statement over 50 runs; here the archive has fewer pages than runs are looked up in it."""
STOPS_EARLY = 400.0
"""Cost, in the planner's units, of a scan that ends as soon as it has found COUNT_MOST rows."""
SUMMED = re.compile("page_storage")
"""Pages with sums over a whole table, which are kept for minutes."""
HEAVY = (
    r'"tasks_app_task"\."result"|"tasks_app_attempt"\."(log_tail|traceback|stack)"'
    r'|"tasks_app_archivedtask"\."(task|events|attempts)"'
)
STOCK_TITLE = re.compile(r"(View|Select|Change) (?!history|password)")
FORMS = re.compile(r"auth_(user|group)_\w+|tasks_app_(apikey|queue|limit|schedule)_\w+|password_change")
"""What an administrator configures by a form."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A page, what it answered, and what it asked of the database."""

    place: Place
    status: int
    text: str
    queries: list[str]
    plans: list[dict[str, Any]] = field(default_factory=list)


def _visit(client: Client, place: Place) -> Visit:
    """Visit a page; one that asks much a second time, when what is kept for minutes is there."""
    found = _asked(client, place)
    return found if len(found.queries) <= QUERIES_MOST else _asked(client, place)


def _asked(client: Client, place: Place) -> Visit:
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(place.address)
    text = b"".join(answer).decode()
    return Visit(place=place, status=answer.status_code, text=text, queries=queries_of(captured))


def _enlarge() -> None:
    """Tell the planner that the rows of the large tables are many more than there are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_class SET reltuples = greatest(reltuples, 1) * %s WHERE relname = ANY(%s) OR oid IN (SELECT"
            " indexrelid FROM pg_index WHERE indrelid = ANY(SELECT oid FROM pg_class WHERE relname = ANY(%s)))",
            [TIMES_LARGER, list(LARGE), list(LARGE)],
        )
        # Columns with many values have as many more of them.
        cursor.execute(
            "UPDATE pg_statistic SET stadistinct = -least(1, stadistinct * %s / class.reltuples) FROM pg_class AS class"
            " WHERE class.oid = starelid AND class.relname = ANY(%s) AND stadistinct > %s",
            [TIMES_LARGER, list(LARGE), MANY_VALUES],
        )


def alike(sql: str) -> str:
    """Return a statement without its values."""
    return re.sub(r"'[^']*'|\\b\\d+\\b", "?", sql)


def _plan(sql: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
        found = cursor.fetchone()[0]
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return {**plan, "sql": sql}


@pytest.fixture(scope="module")
def visits(django_db_setup: None, django_db_blocker: Any) -> Iterator[list[Visit]]:
    """Yield a visit of an administrator to every page."""
    with django_db_blocker.unblock(), transaction.atomic():
        cache.clear()
        console_rows.fill(EXTENT)
        _enlarge()
        person = make_user("admin", "Administrator")
        make_key("read")
        # Enough rows for a query per row to be noticed.
        for number in range(2 * QUERIES_MOST):
            set_limit("key", f"disk-{number}", size=2, actor="user:admin")
            Queue.objects.create(name=f"queue-{number}")
        client = Client()
        client.force_login(person)
        # In a transaction each page would make all checks of health, which a web process makes in the background.
        with pytest.MonkeyPatch.context() as patch:
            latest = health.examine()
            patch.setattr(health, "check", lambda: latest)
            patch.setattr(reading, "LATEST_MOST", EXTENT.tasks // 20)
            patch.setattr(event_filters, "EVERYTHING_MOST", EXTENT.tasks // 20)
            found = [
                _visit(client, place)
                for place in places(person, CHOICES)
                if least(place.name.split(":")[0]) not in (NOBODY, PUBLIC)
            ]
        explained: set[str] = set()
        for visit in found:
            for sql in visit.queries:
                if sql.lstrip().startswith(("SELECT", "(SELECT", "WITH")) and not explained.issuperset({alike(sql)}):
                    explained.add(alike(sql))
                    visit.plans.append(_plan(sql))
        transaction.set_rollback(True)
    cache.clear()
    yield found


def test_every_route_is_visited_or_is_no_page(visits):
    seen = {visit.place.name for visit in visits}
    names = {str(each.name) for each in patterns()} - NO_PAGES - seen
    names = {name for name in names if least(name) not in (NOBODY, PUBLIC) and not name.startswith("axes_")}
    # A page that fails here needs an example in console_pages.EXAMPLES.
    assert names == {"tasks_app_freeze_change", "tasks_app_freeze_history"}  # there is a row only while it is frozen


def test_every_page_answers_with_few_queries(visits):
    wrong = [
        f"{visit.place.name}: {visit.status}, {len(visit.queries)} queries"
        for visit in visits
        if visit.status not in (200, 302) or len(visit.queries) > QUERIES_MOST
    ]
    assert not wrong, "\n".join(wrong)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from nodes(each)


def test_no_page_reads_a_large_table_whole(visits):
    wrong = []
    for visit in visits:
        if SUMMED.match(visit.place.name):
            continue
        for plan in visit.plans:
            if plan["sql"].lstrip().startswith((STATES_OF_RUNS, OCCURRING, NIGHTS_OF_A_MONTH)):
                continue
            scans = [
                node["Relation Name"]
                for node in nodes(plan)
                if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE
            ]
            if scans and plan["Total Cost"] > STOPS_EARLY:
                wrong.append(f"{visit.place.name}: {scans} {plan['Total Cost']} {plan['sql']}")
    assert not wrong, "\n".join(wrong)


def test_every_page_has_one_title_and_one_way_back_and_no_form_but_configuration(visits):
    wrong = []
    for visit in visits:
        if visit.status != 200:
            continue
        title = strip_tags("".join(re.findall(r"<h1.*?</h1>", visit.text, re.DOTALL))).strip()
        back = re.findall(r'<div class="breadcrumbs">.*?</div>', visit.text, re.DOTALL)
        problems = [
            visit.text.count("<h1") != 1 and "titles",
            STOCK_TITLE.match(title) and title,
            visit.place.name != "index" and [reverse("admin:index") in each for each in back] != [True] and "way back",
            'name="_save"' in visit.text and not FORMS.match(visit.place.name) and "form",
        ]
        if any(problems):
            wrong.append(f"{visit.place.name}: {[each for each in problems if each]}")
    assert not wrong, "\n".join(wrong)


def test_no_list_loads_results_logs_or_archived_documents(visits):
    heavy = re.compile(HEAVY)
    found = [
        f"{visit.place.name}: {sql}"
        for visit in visits
        if "_changelist" in visit.place.name
        for sql in visit.queries
        if heavy.search(sql)
    ]
    assert not found, "\n".join(found)
