"""Help: the words of the console, the moves between statuses, and what can be spawned, all read from the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from tasks_app.admin import documents, pages
from tasks_app.admin.display import BANDS
from tasks_app.engine import registry
from tasks_app.engine.backoff import RETRIED
from tasks_app.engine.move import LEGAL
from tasks_app.models import TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.workflows.registry import WorkflowSpec, known

STATES = {
    "pending": "Not claimed yet. The finer words below say what it waits for.",
    "claimable": "Pending, and nothing holds it back: a worker with a free slot takes it by priority.",
    "scheduled": "Pending until a moment that was given when it was spawned.",
    "retrying": "Pending after a failed attempt, until its delay has passed.",
    "waiting": "Pending until the tasks that it depends on have completed.",
    "limited": "Pending until a concurrency limit has a free slot.",
    "claimed": "A worker runs an attempt and renews its lease.",
    "cancelling": "Claimed, and the worker has been asked to stop it.",
    "stalled": "Claimed, but the lease has run out: its worker has not reported. It is returned to the queue.",
    "completed": "An attempt succeeded; the result is stored.",
    "failed": "The last attempt failed and no retry is left, or none would help. An operator can retry it.",
    "quarantined": "Failed, because it ended its process several times. Only an operator retries it.",
    "cancelled": "An operator or a program cancelled it. An operator can retry it.",
}
FAILURES = {
    "error": "The handler raised an exception.",
    "invalid": "Params or input files can never work.",
    "no_work": "There was nothing to do; the task is completed.",
    "timeout": "The attempt took longer than its timeout.",
    "idle_timeout": "The attempt went on without progress, output or processor time for too long.",
    "killed": "Its process was ended by a signal that the worker did not send.",
    "memory": "It used more memory than it may, or the kernel ended it for that.",
    "lost": "Its worker stopped reporting.",
    "drained": "Its worker was stopped; the task returns to the queue without using up a retry.",
    "unavailable": "The host lacked something, such as a mount or disk space; another host is tried first.",
    "cancelled": "It was cancelled while it ran.",
}
UNITS = {
    "sec": "s", "hours": "h", "days": "d", "gb": "GB", "mb": "MB", "hz": "Hz", "mhz": "MHz", "deg": "°",
    "arcmin": "arcmin", "arcsec": "arcsec", "pix": "pixels", "jy": "Jy", "m": "m", "mjd": "MJD", "percent": "%",
}  # fmt: skip
"""By the last part of a param's name."""


@dataclass(frozen=True, kw_only=True)
class Param:
    """One param of a task name."""

    name: str
    kind: str
    unit: str
    default: str
    """Empty where it must be given."""
    is_required: bool
    description: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A task name or a workflow of the catalogue; `spec` is what was registered."""

    spec: registry.TaskSpec | WorkflowSpec
    params: list[Param]


def _kind(field: Mapping[str, Any]) -> str:
    """Write the type of a field of a JSON Schema, with its choices or bounds."""
    if "enum" in field:
        return " or ".join(map(str, field["enum"]))
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_kind(each) for each in field["anyOf"])
    if field.get("type") == "array" and isinstance(field.get("items"), dict):
        return f"list of {_kind(field['items'])}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
    return ", ".join([str(field.get("type", "any")), *bounds])


def params_of(schema: Mapping[str, Any]) -> Iterator[Param]:
    """Yield the params that a JSON Schema describes, in its order."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = field.get("default")
        yield Param(
            name=name,
            kind=_kind(field),
            unit=UNITS.get(name.rpartition("_")[2], "") if "_" in name else "",
            default="" if default is None else str(default),
            is_required=name in required,
            description=field.get("description", ""),
        )


def moves() -> list[tuple[str, list[tuple[str, bool]]]]:
    """Return each status with all statuses and whether a task may go there from it."""
    return [(str(a), [(str(b), (a, b) in LEGAL) for b in TaskStatus.values]) for a in TaskStatus.values]


def catalogue() -> list[Entry]:
    """Return all task names with their params."""
    specs = [registry.get(name) for name in registry.names()]
    return [Entry(spec=spec, params=list(params_of(spec.schema))) for spec in specs]


def help_page(request: HttpRequest) -> HttpResponseBase:
    """The words, the moves, the keys and the catalogue."""
    tops = [20, *(least - 1 for least, _ in BANDS)]
    context = {
        "reference": [name for name in documents.GENERATED if name != "decisions"],
        "states": STATES.items(),
        "failures": [(str(each), FAILURES[each], each in RETRIED) for each in FailureClass.values],
        "statuses": TaskStatus.values,
        "moves": moves(),
        "bands": [(f"{least}–{top}", name) for (least, name), top in zip(BANDS, tops, strict=False)],
        "catalogue": catalogue(),
        "workflows": [Entry(spec=spec, params=list(params_of(spec.schema))) for spec in known()],
    }
    return pages.render(request, "admin/help.html", title="Help", context=context)


pages.add(
    pages.Page(route="help/", name="help", view=help_page, permission="tasks_app.view_task", label="Help", order=95)
)
