"""What needs attention: the faults that health has found, by check, each with the page or the operation that helps.

The light in the header is the health, and this list is all that makes it anything but healthy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse

from tasks_app.admin.pages import Link
from tasks_app.monitoring.health import Check, Health, Subject
from tasks_app.monitoring.health.faults import NAMED
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
    """One fault of a check."""

    cause: str
    button: Link | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """The faults that one check has found: what helps against all of them, and how they are acknowledged together."""

    check: str
    state: str
    remedy: str
    items: Sequence[Item]
    more: int = 0
    """How many faults are not among the items."""
    acknowledge: Link | None = None

    @property
    def count(self) -> int:
        """How many faults there are."""
        return len(self.items) + self.more


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


def groups(health: Health, person: User | AnonymousUser) -> list[Group]:
    """Return the faults by check, the most severe first."""
    found = []
    if health.status == "disabled":
        remedy = "enable it (manage.py absurd_enable)"
        found.append(Group(check="system", state="bad", remedy=remedy, items=[Item(cause=health.message)]))
    for state in ("bad", "warn"):
        found += [_group(check, person) for check in health.checks if check.state == state]
    return found


def _group(check: Check, person: Any) -> Group:
    known = [subject for subject in check.subjects if subject.kind in _remedies]
    seen = None
    if check.finding and person.has_perm(acknowledge.permission):
        address = f"{reverse('admin:tasks_app_freeze_acknowledge')}?finding={check.finding}"
        seen = Link(label="Acknowledge…", address=address)
    return Group(
        check=check.name,
        state=check.state,
        remedy=check.remedy,
        items=[Item(cause=each.message, button=_button(each, person)) for each in known] or [Item(cause=check.message)],
        more=max(0, int(check.value or 0) - NAMED) if len(known) == NAMED else 0,
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
