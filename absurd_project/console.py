"""The AdminSite of the operations console: its first page, and what stands in every page's header."""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db import connection
from django.db.models import BooleanField
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from absurd_project import login_protection
from tasks_app.monitoring import health
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.system import current_freeze
from tasks_app.version import running


class ConsoleRows:
    """Lists and pages of rows, also of packages: a missing row is a 404, filters stand in a bar."""

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Return the filters; of those that are names of columns only flags, as others would list every value."""
        from tasks_app.admin.filters import by_column

        found: list[Any] = []
        for each in super().get_list_filter(request):  # type: ignore[misc]
            if not isinstance(each, str):
                found.append(each)
            elif isinstance(self.opts.get_field(each), BooleanField):  # type: ignore[attr-defined]
                found.append(by_column(each))
        return found

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form; that of a row which is there refuses to undo what another person has saved meanwhile."""
        from tasks_app.admin.edits import guarded

        made = super().get_form(request, obj, change=change, **kwargs)  # type: ignore[misc]
        return guarded(made) if change else made

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the field; of a moment both parts have a name, which Django writes beside them only."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and isinstance(field.widget, AdminSplitDateTime):
            for part, name in zip(field.widget.widgets, ("date", "time"), strict=True):
                part.attrs["aria-label"] = f"{db_field.verbose_name}, {name}"
        return field

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row; where it is saved, locked until that is done."""
        found = super().get_object(request, object_id, from_field)  # type: ignore[misc]
        if found is None or request.method != "POST" or not connection.in_atomic_block:
            return found
        list(type(found)._base_manager.select_for_update().filter(pk=found.pk).values_list("pk"))
        return super().get_object(request, object_id, from_field)  # type: ignore[misc]

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> NoReturn:
        raise Http404(f"There is no {opts.verbose_name} {object_id[:100]!r}.")


class ConsoleSite(AdminSite):
    """The stock Django admin under the observatory's name."""

    site_header = "Absurd · DSA-110 operations"
    site_title = "Absurd"
    index_title = "Control room"
    site_url = None
    enable_nav_sidebar = False

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register models with the console's lists and pages of rows."""
        base = admin_class or ModelAdmin
        super().register(
            model_or_iterable, type(base.__name__, (ConsoleRows, base), {"__module__": base.__module__}), **options
        )

    def get_urls(self) -> list[Any]:
        from tasks_app.admin import pages

        return [*pages.urls(), *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        from tasks_app.admin import pages

        return {
            **super().each_context(request),
            "console_version": SimpleLazyObject(running),
            "console_mode": settings.ABSURD_MODE,
            "console_health": SimpleLazyObject(health.check),
            "console_freeze": SimpleLazyObject(current_freeze),
            "console_now": timezone.now(),
            "console_navigation": pages.navigation(request) if request.user.is_authenticated else [],
            "console_live": request.user.has_perm("tasks_app.view_task"),
        }

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The login page; a login itself only as `logins.admitted` lets it."""
        if request.method != "POST":
            return super().login(request, extra_context)
        with login_protection.admitted(request) as refusal:
            return refusal or super().login(request, extra_context)

    def app_index(  # type: ignore[override]  # a redirection is no TemplateResponse
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Addresses of a single application lead to the control room, which has the pages of all."""
        if not self.get_app_list(request, app_label):
            raise Http404("The requested admin page does not exist.")
        return HttpResponseRedirect(reverse("admin:index"))

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The control room, for those who may look at tasks; the plain list of pages for the others."""
        context = dict(extra_context or {})
        if request.user.has_perm("tasks_app.view_task"):
            from tasks_app.admin.control_room import snapshot

            latest = health.check()
            # The light in the header is that of the list below it.
            context |= {"console_health": latest, **snapshot(request, latest)}
        context["may_operate_system"] = any(request.user.has_perm(each.permission) for each in operations_on("system"))
        return super().index(request, context)
