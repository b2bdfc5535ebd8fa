"""Every page of the console with a million tasks and a hundred thousand images: times by HTTP, and queries."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, reverse
from django.utils.http import urlencode
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from absurd_project.benchmark.large import session_of
from absurd_project.benchmark.measures import QUICK, Figures, PageCost, Progress, Sizes, percentile
from absurd_project.benchmark.scratch import Scratch, web
from pipeline_app.admin.sources import address_of
from pipeline_app.models import Measurement, Product
from tasks_app.admin.reading import COUNT_MOST
from tasks_app.models import ArchivedTask, Task
from tests.benchmark import console_rows

NO_PAGES = frozenset(
    {"None", "logout", "login", "view_on_site", "autocomplete", "jsi18n", "page_activity_csv", "app_list",
     "page_sources_csv", "page_picture", "pipeline_app_product_file", "pipeline_app_product_stamp"}
)  # fmt: skip
"""Addresses that answer with a file, data or a redirection, or that are not for people who are logged in."""
CHOICES_MOST = 12
ASKED = {
    "page_sources": ("q=S1", "q=s240-1", "q=zz-no-such-thing", "q=10.0+16.1+r%3D30"),
    "page_images": ("verdict=fail", "strip=16.1", "verdict=fail&strip=16.1"),
    "page_search": ("q=2026-10", "q=9f3a", "q=zz-no-such-thing"),
    "page_storage": ("older_than_days=30&kinds=ms&kinds=calibrated-ms",),
    "page_nights": ("night=2026-10-01",),
    "tasks_app_task_changelist": ("status=failed&since=24h", "status=failed&task_name=imaging", "run__id__exact=2"),
}
"""Queries of pages that ask more than a list with one filter."""
SEARCHES = {"search by digits": "9f3a", "search without a hit": "zz-no-such-thing"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A page, or a list narrowed in one way."""

    name: str
    """The name of its route; behind a colon how the list is narrowed."""
    address: str


def patterns() -> list[URLPattern]:
    """Return every route of the console."""
    admin.autodiscover()
    return list(_walk(admin.site.get_urls()))


def _walk(found: list[Any]) -> Iterator[URLPattern]:
    for pattern in found:
        if isinstance(pattern, URLPattern):
            yield pattern
        else:
            yield from _walk(pattern.url_patterns)


def _newest_image() -> str:
    found = Product.objects.filter(kind="image").order_by("-id").values_list("pk", flat=True).first()
    return str(found or "")


def _source() -> str:
    name = Measurement.objects.order_by("-id").values_list("name", flat=True).first()
    return address_of(name) if name else ""


def _of_image(name: str) -> Callable[[], str]:
    def address() -> str:
        image = _newest_image()
        return reverse(f"admin:{name}", args=[image]) if image else ""

    return address


EXAMPLES: dict[str, Callable[[], str]] = {
    "page_image": _of_image("page_image"),
    "page_viewer": _of_image("page_viewer"),
    "pipeline_app_product_vote": _of_image("pipeline_app_product_vote"),
    "page_source": _source,
    "page_document": lambda: reverse("admin:page_document", args=["operating"]),
    "page_search": lambda: f"{reverse('admin:page_search')}?q=2026",
}
"""For pages that are not of a row of a table: the address of an example, or nothing where there is none."""


def _key_of(model: type[Model]) -> str:
    """Return the key of the newest row as addresses have it, or nothing."""
    order = {"worker": "-started_at"}.get(str(model._meta.model_name), "-pk")
    row = model._default_manager.order_by(order).only("pk", *(["task_id"] if model is Task else [])).first()
    return "" if row is None else quote(str(row.task_id if isinstance(row, Task) else row.pk))


def places(person: Any, choices: int = CHOICES_MOST) -> list[Place]:
    """Return every page that has an example, and every list narrowed by each filter, searched, and at its last page.

    Of each filter `choices` values are tried at most.
    """
    keys = {f"{model._meta.app_label}_{model._meta.model_name}": _key_of(model) for model in admin.site._registry}
    found = []
    for name in dict.fromkeys(str(pattern.name) for pattern in patterns()):
        if name not in NO_PAGES:
            address = _address(name, keys)
            found += [Place(name=name, address=address)] if address else []
    for name, queries in ASKED.items():
        address = reverse(f"admin:{name}")
        found += [Place(name=f"{name}: {query}", address=f"{address}?{query}") for query in queries]
    for model, model_admin in admin.site._registry.items():
        found += _narrowed(model, model_admin, person, choices)
    return found


def _address(name: str, keys: dict[str, str]) -> str:
    if name in EXAMPLES:
        return EXAMPLES[name]()
    pattern = next(each for each in patterns() if each.name == name)
    if not pattern.pattern.regex.groups:
        return reverse(f"admin:{name}")
    table = "auth_user" if name == "auth_user_password_change" else name.rpartition("_")[0]
    return reverse(f"admin:{name}", args=[keys[table]]) if keys.get(table) else ""


def _narrowed(model: type[Model], model_admin: Any, person: Any, most: int) -> Iterator[Place]:
    name = f"{model._meta.app_label}_{model._meta.model_name}_changelist"
    address = reverse(f"admin:{name}")
    request: HttpRequest = RequestFactory().get(address)
    request.user = person
    queries = {"last page": {"p": COUNT_MOST // model_admin.list_per_page}}
    if model_admin.get_search_fields(request):
        queries |= {how: {"q": text} for how, text in SEARCHES.items()}
    for filter_class in model_admin.get_list_filter(request):
        spec = filter_class(request, {}, model, model_admin)
        choices = [str(value) for value, _ in spec.lookup_choices if value][:most]
        queries |= {f"{spec.parameter_name}={value}": {spec.parameter_name: value} for value in choices}
    for how, query in queries.items():
        yield Place(name=f"{name}: {how}", address=f"{address}?{urlencode(query)}")


P95_MOST_MS = 500.0
QUERIES_MOST = 15
ANSWER_SEC = 120
REDIRECTED = range(300, 400)


def measure(
    scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress, *, wanted: Collection[str] = ()
) -> None:
    """Fill the tables, then load each page as an administrator; pages that nobody may see are left out.

    A kept database is filled once. `wanted` are parts of names or addresses: only such pages are loaded.
    """
    person, _ = User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)
    if not (scratch.is_kept and ArchivedTask.objects.exists()):
        with progress.part("rows of the console", 1) as step:
            console_rows.fill(console_rows.QUICK if sizes is QUICK else console_rows.FULL)
            console_rows.vacuum()
            step()
    found = [
        place for place in places(person)
        if not wanted or any(part in place.name or part in place.address for part in wanted)
    ]  # fmt: skip
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


def print_pages(figures: Figures, console: Console) -> None:
    """Print the pages of the console, the slowest first."""
    table = Table("page", "p50, ms", "p95, ms", "queries", box=box.SIMPLE, title="Pages of the console")
    for page in sorted(figures.pages, key=lambda each: -each.p95_ms):
        over = page.p95_ms >= P95_MOST_MS or page.queries > QUERIES_MOST
        name = Text(page.name, "red" if over else "")
        table.add_row(name, f"{page.p50_ms:.0f}", f"{page.p95_ms:.0f}", str(page.queries))
    console.print(table)
