"""Limits: how many tasks may be claimed at once, who occupies them, and how many wait."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import BigIntegerField, Count, Q, QuerySet, Value
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.filters import by_column
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.reading import ConsoleAdmin, ConsoleList
from tasks_app.auth.keys import actor_of
from tasks_app.models import Hold, Limit, Queue, Task, TaskStatus
from tasks_app.operations.queues import SIZE_MOST, set_limit

PARKED_SHOWN = 1000


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]
    """Of what, how many, and why."""

    size = forms.IntegerField(min_value=1, max_value=SIZE_MOST, help_text=Limit._meta.get_field("size").help_text)
    reason = forms.CharField(max_length=2000, widget=forms.TextInput(attrs={"size": 60}))

    class Meta:
        model = Limit
        fields = ("scope", "name", "size")

    def clean(self) -> dict[str, Any]:
        """Refuse a queue that does not exist: it would limit nothing."""
        given = super().clean() or {}
        if given.get("scope") == Limit.Scope.QUEUE and not Queue.objects.filter(name=given.get("name")).exists():
            self.add_error("name", f"there is no queue {given.get('name')!r}")
        return given


class LimitList(ConsoleList):
    """A page of limits with the tasks that wait for each, counted together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        parked = [_parked(limit) for limit in self.result_list]
        counts = Counter(pk for (pk,) in parked[0].union(*parked[1:], all=True)) if parked else Counter()
        for limit in self.result_list:
            limit.n_parked = counts[limit.pk]


def _parked(limit: Limit) -> Any:
    """Return a row with the limit's key for each task that waits for it, one more than is shown at most."""
    waiting = Task.objects.filter(status=TaskStatus.PENDING, hold=Hold.LIMIT)
    if limit.scope == Limit.Scope.QUEUE:
        waiting = waiting.in_queue(limit.name)
    else:
        waiting = waiting.filter(concurrency_key=limit.name).exclude(concurrency_key="")
    key = Value(limit.pk, output_field=BigIntegerField())
    return waiting.order_by().annotate(limit_pk=key).values_list("limit_pk")[: PARKED_SHOWN + 1]


@admin.register(Limit)
class LimitAdmin(OperatingAdmin, ConsoleAdmin):
    """Limits; every change is an event with its reason."""

    target_kind = "limit"
    selected_by_lists = False
    change_form_template = "admin/tasks_app/operated_form.html"
    form = LimitForm
    list_display = ("name", "scope", "size", "taken", "parked", "origin")
    list_display_links = ("name",)
    list_filter = (by_column("scope"),)
    search_fields = ("name__startswith",)
    ordering = ("scope", "name")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LimitList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Limit]:
        rows: QuerySet[Limit] = super().get_queryset(request)
        return rows.annotate(n_taken=Count("slots", filter=Q(slots__task_id__isnull=False)))

    def get_fields(self, request: HttpRequest, obj: Limit | None = None) -> tuple[str, ...]:
        return ("scope", "name", "size", "occupied_by" if obj else "reason")

    def get_readonly_fields(self, request: HttpRequest, obj: Limit | None = None) -> tuple[str, ...]:
        return ("scope", "name", "size", "occupied_by") if obj else ()

    def get_form(self, request: HttpRequest, obj: Limit | None = None, change: bool = False, **kwargs: Any) -> Any:
        # What the form asks for beyond the model's own fields is not for Django to look up there.
        kwargs["fields"] = () if obj else ("scope", "name", "size")
        return super().get_form(request, obj, change, **kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(set_limit.permission)

    def has_change_permission(self, request: HttpRequest, obj: Limit | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Limit | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Limit, form: Any, change: bool) -> None:
        """Set the limit with its reason."""
        given = form.cleaned_data
        actor = actor_of(request.user)
        obj.pk = set_limit(obj.scope, obj.name, actor=actor, size=given["size"], reason=given["reason"]).pk

    def key_of(self, target: Limit) -> tuple[str, str]:
        return target.scope, target.name

    @admin.display(description="occupied")
    def taken(self, limit: Limit) -> str:
        """How many slots are occupied."""
        return f"{limit.n_taken} of {limit.size}"  # type: ignore[attr-defined]

    @admin.display(description="parked")
    def parked(self, limit: Limit) -> str:
        """How many pending tasks wait for a slot; counted only so far."""
        count = limit.n_parked  # type: ignore[attr-defined]
        return f"over {PARKED_SHOWN}" if count > PARKED_SHOWN else str(count)

    @admin.display(description="origin")
    def origin(self, limit: Limit) -> str:
        """An operation, or the key of a task alone."""
        return "set by an administrator" if limit.explicit else "made for a task's concurrency_key"

    @admin.display(description="occupied by")
    def occupied_by(self, limit: Limit) -> SafeString | str:
        """The tasks that hold its slots."""
        held = limit.slots.filter(task_id__isnull=False).order_by("number").values_list("task_id", flat=True)
        tasks = Task.objects.filter(task_id__in=list(held)).defer("params", "result").order_by("id")
        rows = ((reverse("admin:tasks_app_task_change", args=[task.task_id]), str(task)) for task in tasks)
        return format_html_join("", '<div><a href="{}">{}</a></div>', rows) or display.NOTHING
