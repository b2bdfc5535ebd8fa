"""Every check of health: what it measured, against which threshold, since when, and where the runbook has it."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from tasks_app import formats
from tasks_app.admin import attention, display, documents, pages
from tasks_app.monitoring import health
from tasks_app.monitoring.health import Check

WORDS = {"ok": "pass", "warn": "warn", "bad": "fail"}
UNITS = {"database": "ms", "clock": "s", "oldest pending": "duration", "progress": "duration", "feed": "duration",
         "old transactions": "duration", "backups": "duration", "late tiles": "duration", "disk": "%"}  # fmt: skip
"""Of the value and the threshold, by check; the others count."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A check as the page shows it."""

    check: Check
    word: str
    value: str
    threshold: str
    runbook: str
    faults: attention.Group | None
    """What it has found, with buttons."""


def _quantity(check: Check, value: float | None) -> str:
    if value is None:
        return display.NOTHING
    unit = UNITS.get(check.name, "")
    if unit == "duration":
        return formats.duration(value)
    if unit == "%":
        return f"{value:.0%}"
    return f"{value:,.6g} {unit}".strip()


def view(request: HttpRequest) -> HttpResponseBase:
    """The checks, those with faults first."""
    found = health.check()
    faults = {group.check: group for group in attention.groups(found, request.user)}
    rows = [
        Row(
            check=check,
            word=WORDS[check.state],
            value=_quantity(check, check.value),
            threshold=_quantity(check, check.threshold),
            runbook=documents.address(documents.RUNBOOK, check.name),
            faults=faults.get(check.name) if check.state != "ok" else None,
        )
        for state in ("bad", "warn", "ok")
        for check in found.checks
        if check.state == state
    ]
    context = {"console_health": found, "rows": rows, "runbook": documents.address(documents.RUNBOOK, "health")}
    return pages.render(request, "admin/health.html", title="Health", context=context)


pages.add(
    pages.Page(route="health/", name="health", view=view, permission="tasks_app.view_task", label="Health", order=68)
)
