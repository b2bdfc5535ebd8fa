"""Every page of the console with a million tasks and a hundred thousand images: times by HTTP, and queries."""

from __future__ import annotations

import http.client
import time

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from absurd_project.benchmark import console_rows
from absurd_project.benchmark.console_pages import Place, places
from absurd_project.benchmark.large import session_of
from absurd_project.benchmark.measures import Figures, PageCost, Progress, Sizes, percentile
from absurd_project.benchmark.scratch import Scratch, web

P95_MOST_MS = 500.0
QUERIES_MOST = 15
ANSWER_SEC = 120
REDIRECTED = range(300, 400)


def measure(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Fill the tables, then load each page as an administrator; pages that nobody may see are left out."""
    person, _ = User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)
    with progress.part("rows of the console", 1) as step:
        console_rows.fill(sizes.console_rows)
        console_rows.vacuum()
        step()
    found = places(person)
    with progress.part("pages of the console", len(found)) as step, web(scratch) as port:
        for place in found:
            queries = _queries(place, person)
            if queries is not None:
                figures.pages.append(_cost(place, port, session_of(person), sizes.page_loads, queries))
            step()


def _queries(place: Place, person: User) -> int | None:
    """Return how many queries the page asks in this process; None for one that is refused or leads elsewhere."""
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(person)
    client.get(place.address)
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(place.address)
    if answer.status_code == 403 or answer.status_code in REDIRECTED:
        return None
    if answer.status_code != 200:
        raise RuntimeError(f"{place.address} was answered by {answer.status_code}")
    return len(queries_of(captured))


def queries_of(captured: CaptureQueriesContext) -> list[str]:
    """Return what was asked, without the statements that begin, end and set up transactions."""
    control = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SELECT set_config(", "SELECT current_setting(")
    return [each["sql"] for each in captured.captured_queries if not each["sql"].startswith(control)]


def _cost(place: Place, port: int, session: str, count: int, queries: int) -> PageCost:
    """Load the page `count` times over one connection; the first load besides is not counted."""
    web_process = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SEC)
    times_ms = []
    for _ in range(count + 1):
        began = time.perf_counter()
        web_process.request("GET", place.address, headers={"Cookie": f"sessionid={session}"})
        answer = web_process.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{place.address} was answered by {answer.status}")
        times_ms.append((time.perf_counter() - began) * 1000)
    web_process.close()
    p50_ms, p95_ms = (round(percentile(times_ms[1:], percent), 1) for percent in (50, 95))
    return PageCost(name=place.name, address=place.address, p50_ms=p50_ms, p95_ms=p95_ms, queries=queries)
