"""Pages of the console that are no list of a table: their addresses, who may see them, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, TypeVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

T = TypeVar("T")
View = Callable[..., HttpResponseBase]

STATEMENT_LIMIT_MS = 2000
"""Longest time of one statement of a panel."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page below /admin/, and its place in the navigation, if it has one."""

    route: str
    name: str
    """It is reversed as admin:page_NAME."""
    view: View
    permission: str
    label: str = ""
    """Its word in the navigation; empty where it is reached from another page."""
    order: int = 50
    """Its place in the navigation."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """An entry of the navigation, or the way back from a page."""

    label: str
    address: str
    is_current: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel(Generic[T]):
    """What a panel shows, or why it shows nothing."""

    value: T | None = None
    problem: str = ""


_pages: dict[str, Page] = {}
_lists: dict[str, tuple[int, str, str]] = {}


def add(page: Page) -> None:
    """Add a page to the console."""
    _pages[page.name] = page


def add_list(model: Any, *, order: int, label: str = "") -> None:
    """Put the list of a model into the navigation."""
    name = f"{model._meta.app_label}_{model._meta.model_name}_changelist"
    permission = f"{model._meta.app_label}.view_{model._meta.model_name}"
    _lists[name] = (order, label or str(model._meta.verbose_name_plural).capitalize(), permission)


def urls() -> list[URLPattern]:
    """Return the routes of all pages."""
    return [
        path(page.route, admin.site.admin_view(_guarded(page)), name=f"page_{page.name}") for page in _pages.values()
    ]


def navigation(request: HttpRequest) -> list[Link]:
    """Return the pages that the person may see, in order; the one with the longest matching address is current."""
    found = [(page.order, page.label, page.permission, f"page_{page.name}") for page in _pages.values() if page.label]
    found += [(order, label, permission, name) for name, (order, label, permission) in _lists.items()]
    links = [("Control room", reverse("admin:index"))]
    links += [
        (label, reverse(f"admin:{name}"))
        for _, label, permission, name in sorted(found)
        if request.user.has_perm(permission)
    ]
    matching = [address for _, address in links[1:] if request.path.startswith(address)]
    current = max(matching, key=len, default=reverse("admin:index") if request.path == reverse("admin:index") else "")
    return [Link(label=label, address=address, is_current=address == current) for label, address in links]


def list_of(model: Any) -> Link:
    """Return the way back to the list of a model."""
    opts = model._meta
    address = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
    return Link(label=str(opts.verbose_name_plural).capitalize(), address=address)


def render(
    request: HttpRequest, template: str, *, title: str, back: Link | None = None, context: Mapping[str, Any]
) -> TemplateResponse:
    """Return a page under its title, with the way back to the page that it belongs to; all lead to the control room."""
    everywhere = admin.site.each_context(request)
    return TemplateResponse(request, template, {**everywhere, "title": title, "back": back, **context})


def read_panels(readers: Mapping[str, Callable[[], Any]]) -> dict[str, Panel[Any]]:
    """Return what each reader returns. One that fails or takes too long leaves the other panels as they are.

    Readers return evaluated rows: a lazy query would run later, outside of the limit.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_LIMIT_MS)])
        return {name: _read(reader) for name, reader in readers.items()}


def _read(reader: Callable[[], T]) -> Panel[T]:
    try:
        with transaction.atomic():
            return Panel(value=reader())
    except DatabaseError as error:
        return Panel(problem=str(error).strip().split("\n", 1)[0] or type(error).__name__)


def _guarded(page: Page) -> View:
    @wraps(page.view)
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.has_perm(page.permission):
            raise PermissionDenied
        return page.view(request, *args, **kwargs)

    return view
