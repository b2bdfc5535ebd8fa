"""What all pages of the console share: lists that stay quick, and rows that no form may change."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from tasks_app.models.querysets import id_ends_with

M = TypeVar("M", bound=Model)

COUNT_MOST = 10_000
ID_PREFIX_LEAST = 4


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than COUNT_MOST: nobody leafs so far, and counting millions of rows takes seconds."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, up to COUNT_MOST."""
        return int(self.object_list.order_by()[:COUNT_MOST].values("pk").count())  # type: ignore[attr-defined]


class ConsoleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list ordered by key, with a bounded count and no counts beside its filters."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    ordering: ClassVar[Any] = ("-id",)
    empty_value_display = "–"
    sortable_by: ClassVar[Any] = ()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under its own name, instead of a request to select something."""
        title = str(self.opts.verbose_name_plural).capitalize()
        answer = super().changelist_view(request, {"title": title, **(extra_context or {})})
        if isinstance(answer, TemplateResponse) and answer.context_data and "cl" in answer.context_data:
            filters = answer.context_data["cl"].filter_specs
            refusals = [each.refusal for each in filters if getattr(each, "refusal", "")]
            answer.context_data["refusals"] = refusals
            if refusals:
                answer.status_code = 400
        return answer


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
