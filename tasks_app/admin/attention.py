"""What needs attention: the faults that health has found, one line each, with the page or the operation that helps.

The light in the header is the health, and this list is all that makes it anything but healthy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse

from tasks_app.admin.pages import Link
from tasks_app.monitoring.health import Check, Health, Subject
from tasks_app.operations.system import acknowledge


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """The button beside a kind of subject: the page of an operation, or of the row itself for who may not do it."""

    label: str
    view: str
    permission: str
    page: str = ""
    """The view of the row's own page; empty where it has none."""
    of_list: bool = False
    """Whether the key is the filter of a list."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One fault."""

    check: str
    state: str
    cause: str
    remedy: str
    button: Link | None = None
    acknowledge: Link | None = None


_remedies: dict[str, Remedy] = {}


def add(kind: str, remedy: Remedy) -> None:
    """Say what helps a kind of subject."""
    _remedies[kind] = remedy


add("worker", Remedy(label="Open worker", view="tasks_app_worker_change", permission="tasks_app.view_worker"))
add("run", Remedy(label="Retry run…", view="tasks_app_run_retry", permission="tasks_app.retry_run",
                  page="tasks_app_run_change"))  # fmt: skip
add("task", Remedy(label="Open task", view="tasks_app_task_change", permission="tasks_app.view_task"))
add("tasks", Remedy(label="List them", view="tasks_app_task_changelist", permission="tasks_app.view_task",
                    of_list=True))  # fmt: skip
add("queue", Remedy(label="Resume…", view="tasks_app_queue_resume", permission="tasks_app.pause_queue",
                    page="tasks_app_queue_change"))  # fmt: skip
add("system", Remedy(label="Thaw…", view="tasks_app_freeze_thaw", permission="tasks_app.freeze_everything",
                     page="tasks_app_freeze_changelist"))  # fmt: skip


def items(health: Health, person: User | AnonymousUser) -> list[Item]:
    """Return the faults, the most severe first."""
    found = []
    if health.status == "disabled":
        found.append(
            Item(check="system", state="bad", cause=health.message, remedy="enable it (manage.py absurd_enable)")
        )
    for state in ("bad", "warn"):
        for check in health.checks:
            if check.state == state:
                found += _items_of(check, person)
    return found


def _items_of(check: Check, person: Any) -> list[Item]:
    known = [subject for subject in check.subjects if subject.kind in _remedies]
    if not known:
        return [_item(check, check.message, None, person)]
    return [_item(check, subject.message, subject, person) for subject in known]


def _item(check: Check, cause: str, subject: Subject | None, person: Any) -> Item:
    seen = None
    if check.finding and person.has_perm(acknowledge.permission):
        address = f"{reverse('admin:tasks_app_freeze_acknowledge')}?finding={check.finding}"
        seen = Link(label="Acknowledge…", address=address)
    return Item(
        check=check.name,
        state=check.state,
        cause=cause[:1].upper() + cause[1:],
        remedy=check.remedy,
        button=_button(subject, person) if subject else None,
        acknowledge=seen,
    )


def _button(subject: Subject, person: Any) -> Link | None:
    remedy = _remedies[subject.kind]
    may = person.has_perm(remedy.permission)
    view = remedy.view if may else remedy.page
    if not view:
        return None
    if remedy.of_list:
        address = f"{reverse(f'admin:{view}')}?{subject.key}"
    else:
        address = reverse(f"admin:{view}", args=[subject.key] if subject.key else [])
    return Link(label=remedy.label if may else "Open", address=address)
