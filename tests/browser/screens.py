"""Every screen of the console and of the API's documents, with the row that its picture shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group, User
from django.urls import reverse

from pipeline_app.admin.sources import find
from pipeline_app.models import Calibration, Observation, Product
from tasks_app.models import ApiKey, ArchivedTask, Limit, Queue, Run, Schedule, Task, Worker

Key = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Screen:
    """A page: the name of its view, the key of its row if it has one, and the query."""

    view: str
    key: Key | None = None
    query: str | Callable[[], str] = ""
    anonymous: bool = False

    @property
    def address(self) -> str:
        """Its path with the query. Raises an error where there is no row to show."""
        query = self.query if isinstance(self.query, str) else self.query()
        return reverse(self.view, args=[self.key()] if self.key else []) + query


def _first(rows: Any, field: str = "pk") -> Any:
    return getattr(rows[0], field)


def _last(model: Any, field: str = "pk", **conditions: Any) -> Key:
    return lambda: _first(model.objects.filter(**conditions).order_by("-pk"), field)


def _usable() -> Sequence[Calibration]:
    return list(Calibration.objects.exclude(verdict="fail").order_by("-mid_mjd")[:2])


def _varying_source() -> str:
    varies = max(find(""), key=lambda source: (source.varies and source.varies.eta) or 0.0)
    return "?" + varies.address.partition("?")[2]


def _incomplete() -> Any:
    return next(each.pk for each in Observation.objects.order_by("-start_mjd") if each.missing_subbands())


def _admin(model: str, kind: str = "changelist", **options: Any) -> Screen:
    return Screen(view=f"admin:{model}_{kind}", **options)


_failed = _last(Task, "task_id", status="failed", run__isnull=False)
_quarantined = _last(Task, "task_id", quarantined_at__isnull=False)
_running = _last(Task, "task_id", status="claimed")
_image = _last(Product, kind="image")


def _worker() -> Any:
    return _first(Worker.objects.live().order_by("-concurrency", "-heartbeat_at"))


_schedule, _limit, _queue = _last(Schedule), _last(Limit), _last(Queue)

SCREENS: dict[str, Screen] = {
    "login": Screen(view="admin:login", anonymous=True),
    "control-room": Screen(view="admin:index"),
    "health": Screen(view="admin:page_health"),
    "status": Screen(view="admin:page_status"),
    "help": Screen(view="admin:page_help"),
    "document": Screen(view="admin:page_document", key=lambda: "operating"),
    "search": Screen(view="admin:page_search", query="?q=imag"),
    "activity": _admin("tasks_app_taskevent"),
    "tasks": _admin("tasks_app_task"),
    "task": _admin("tasks_app_task", "change", key=_failed),
    "tasks-matching": _admin("tasks_app_task", "matching_reprioritize", query="?status=pending"),
    "task-running": _admin("tasks_app_task", "change", key=_running),
    "task-quarantined": _admin("tasks_app_task", "change", key=_quarantined),
    "spawn": Screen(view="admin:page_spawn"),
    "spawn-form": Screen(view="admin:page_spawn", query="?task_name=calibration-solve"),
    "task-respawn": _admin("tasks_app_task", "respawn", key=_failed),
    "task-requeue": _admin("tasks_app_task", "requeue", key=_running),
    "task-reprioritize": _admin("tasks_app_task", "reprioritize", key=_last(Task, "task_id", status="pending")),
    "archive": _admin("tasks_app_archivedtask"),
    "archived-task": _admin("tasks_app_archivedtask", "change", key=_last(ArchivedTask)),
    "runs": _admin("tasks_app_run"),
    "run": _admin("tasks_app_run", "change", key=_last(Task, "run_id", status="failed", run__isnull=False)),
    "run-completed": _admin("tasks_app_run", "change", key=_last(Task, "run_id", task_name="photometry",
                                                                 status="completed")),
    "run-retry": _admin("tasks_app_run", "retry", key=_last(Run)),
    "workers": _admin("tasks_app_worker"),
    "worker": _admin("tasks_app_worker", "change", key=_worker),
    "worker-drain": _admin("tasks_app_worker", "drain", key=_worker),
    "queues": _admin("tasks_app_queue"),
    "queue": _admin("tasks_app_queue", "change", key=_queue),
    "queue-pause": _admin("tasks_app_queue", "pause", key=_queue),
    "schedules": _admin("tasks_app_schedule"),
    "schedule": _admin("tasks_app_schedule", "change", key=_schedule),
    "schedule-add": _admin("tasks_app_schedule", "add"),
    "limits": _admin("tasks_app_limit"),
    "limit": _admin("tasks_app_limit", "change", key=_limit),
    "limit-add": _admin("tasks_app_limit", "add"),
    "system": _admin("tasks_app_freeze"),
    "freeze": _admin("tasks_app_freeze", "freeze"),
    "emergency-stop": _admin("tasks_app_freeze", "emergency-stop"),
    "acknowledge": _admin("tasks_app_freeze", "acknowledge", query="?finding=lost-workers"),
    "nights": Screen(view="admin:page_nights"),
    "observations": _admin("pipeline_app_observation"),
    "tile": _admin("pipeline_app_observation", "change", key=_incomplete),
    "images": Screen(view="admin:page_images"),
    "image": Screen(view="admin:page_image", key=_image),
    "viewer": Screen(view="admin:page_viewer", key=_image),
    "calibrations": _admin("pipeline_app_calibration"),
    "calibration": _admin("pipeline_app_calibration", "change", key=lambda: _usable()[0].pk,
                          query=lambda: f"?with={_usable()[-1].pk}"),
    "calibration-refused": _admin("pipeline_app_calibration", "change", key=_last(Calibration, verdict="fail")),
    "calibration-refuse": _admin("pipeline_app_calibration", "refuse", key=lambda: _usable()[0].pk),
    "sources": Screen(view="admin:page_sources"),
    "source": Screen(view="admin:page_source", query=_varying_source),
    "storage": Screen(view="admin:page_storage"),
    "products": _admin("pipeline_app_product"),
    "product": _admin("pipeline_app_product", "change", key=_last(Product)),
    "measurements": _admin("pipeline_app_measurement"),
    "files": _admin("pipeline_app_subbandfile"),
    "keys": _admin("tasks_app_apikey"),
    "key": _admin("tasks_app_apikey", "change", key=_last(ApiKey)),
    "key-add": _admin("tasks_app_apikey", "add"),
    "users": _admin("auth_user"),
    "user": _admin("auth_user", "change", key=_last(User)),
    "user-add": _admin("auth_user", "add"),
    "groups": _admin("auth_group"),
    "group": _admin("auth_group", "change", key=_last(Group)),
    "password": Screen(view="admin:password_change"),
    "history": _admin("tasks_app_queue", "history", key=_queue),
    "api-docs": Screen(view="absurd_api:docs"),
    "api-redoc": Screen(view="absurd_api:redoc"),
}  # fmt: skip
REFUSALS = {"not-found": "/admin/no-such-page/", "not-permitted": "/admin/tasks_app/run/add/"}
"""They have pictures too, and no view."""

LIKE_ANOTHER: dict[str, str] = {
    r".*_history": "history",
    r"tasks_app_task_matching_(cancel|retry|requeue)": "tasks-matching",
    r"pipeline_app_calibration_accept|pipeline_app_product_vote": "calibration-refuse",
    r"tasks_app_(task|run|queue|worker|schedule|limit|freeze)_(cancel|retry|resume|pause|drain|recycle|run|enable"
    r"|disable|delete|set|remove|thaw|emergency-recover)": "queue-pause",
}
"""Views whose page is made as that of another screen, as patterns of their names."""
NO_PAGE = (
    r"logout|autocomplete|jsi18n|view_on_site|app_list|password_change_done",
    r"page_(activity|sources)_csv|page_picture|pipeline_app_product_(file|stamp)",  # files
    r"axes_.*|auth_.*_(delete|password_change)|auth_group_add",  # Django's own forms, for Administrators
    r"tasks_app_(archivedtask|freeze|queue|run|task|taskevent|worker)_(add|delete)|pipeline_app_.*_(add|delete)"
    r"|tasks_app_(limit|apikey)_delete|tasks_app_(freeze|taskevent)_change|pipeline_app_(measurement|subbandfile)_change",
)
"""Views that answer with no page of the console: patterns of their names."""
