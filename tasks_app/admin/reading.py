"""What all pages of the console share: lists that stay quick, and rows that no form may change."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet, UUIDField
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from tasks_app.models.querysets import id_ends_with

M = TypeVar("M", bound=Model)

COUNT_MOST = 10_000
LATEST_MOST = 20_000
"""Rows that a filter without an index looks through."""
ID_PREFIX_LEAST = 4


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than COUNT_MOST: nobody leafs so far, and counting millions of rows takes seconds."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, up to COUNT_MOST."""
        return int(self.object_list.order_by()[:COUNT_MOST].values("pk").count())  # type: ignore[attr-defined]


def latest(rows: QuerySet[M]) -> QuerySet[M]:
    """Narrow rows to those with the last LATEST_MOST keys of their table."""
    last = rows.model._default_manager.order_by("-pk").values_list("pk", flat=True).first()
    return rows.filter(pk__gt=(last or 0) - LATEST_MOST)


class ConsoleList(ChangeList):
    """A list in which a filter that no index serves looks through the latest rows only, and says so."""

    is_of_latest = False
    model_admin: Any

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        self.is_of_latest = self.model_admin.is_of_latest(request)
        return latest(rows) if self.is_of_latest else rows

    @property
    def scope(self) -> str:
        """What the list says of rows that it did not look through."""
        return f"Of the last {LATEST_MOST:,} {self.opts.verbose_name_plural}." if self.is_of_latest else ""


class ConsoleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list ordered by key, with a bounded count, no counts beside its filters, and a search by index.

    `search_fields` are lookups that an index serves; each finds up to COUNT_MOST rows.
    """

    unindexed_filters: ClassVar[frozenset[str]] = frozenset()
    """Filters, by their name in the address, for which there is no index."""
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    ordering: ClassVar[Any] = ("-id",)
    empty_value_display = "–"
    sortable_by: ClassVar[Any] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ConsoleList

    def is_of_latest(self, request: HttpRequest) -> bool:
        """Whether the filters chosen are such that only the latest rows can be looked through."""
        return any(request.GET.get(name) for name in self.unindexed_filters)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        rows = self.model._default_manager.order_by()
        found = [rows.filter(lookup).values("pk")[:COUNT_MOST] for lookup in self.lookups_of(term)]
        return queryset.filter(pk__in=found[0].union(*found[1:]) if found else []), False

    def lookups_of(self, term: str) -> list[Q]:
        """Return a condition for each of `search_fields` that the text can be compared with."""
        made = []
        for name in self.search_fields:
            if "__" in name or not isinstance(self.opts.get_field(name), UUIDField):
                made.append(Q((name, term)))
            elif ids := id_range(term):
                made.append(Q((f"{name}__range", ids)))
        return made

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under its own name, instead of a request to select something."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return with_refusals(super().changelist_view(request, {"title": title, **(extra_context or {})}))


class ReadOnlyAdmin(ConsoleAdmin):
    """Rows that are written by the queue, never by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a row, for those who may see it. Raises PermissionDenied and Http404."""
        row = self.get_object(request, object_id)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            raise Http404(f"there is no {self.opts.verbose_name} {object_id}")
        return self.page_of(request, row)

    def page_of(self, request: HttpRequest, row: Any) -> HttpResponse:
        """Return the page of a row; the list where rows have none of their own."""
        return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))


def with_refusals(answer: HttpResponse) -> HttpResponse:
    """Answer 400 with the reasons where a filter of a list has refused its value."""
    if isinstance(answer, TemplateResponse) and answer.context_data and "cl" in answer.context_data:
        filters = answer.context_data["cl"].filter_specs
        refusals = [each.refusal for each in filters if getattr(each, "refusal", "")]
        answer.context_data["refusals"] = refusals
        if refusals:
            answer.status_code = 400
    return answer


def id_range(prefix: str) -> tuple[UUID, UUID] | None:
    """Return the first and last id that begin with the given hexadecimal digits, or None when it is no such prefix."""
    digits = prefix.strip().lower().replace("-", "")
    if not ID_PREFIX_LEAST <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def with_id(rows: QuerySet[M], term: str) -> QuerySet[M] | None:
    """Return the rows whose task id begins or ends as written; None where that is no part of an id."""
    ids = id_range(term)
    if ids is None:
        return None
    return rows.filter(Q(task_id__range=ids) | id_ends_with(term.strip().lower()))
