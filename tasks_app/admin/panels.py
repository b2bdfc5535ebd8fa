"""Further panels on a task's page, brought by the applications that use the queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks_app.models import Task


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a panel shows; a cell may be safe HTML."""

    headings: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A titled table about a task; left out when it has no rows."""

    title: str
    table: Callable[[Task], Table]


_panels: list[Panel] = []


def add(panel: Panel) -> None:
    """Show the panel on every task's page."""
    if panel not in _panels:
        _panels.append(panel)


def of(task: Task) -> list[tuple[str, Table]]:
    """Return the panels that have something to say about the task."""
    made = [(panel.title, panel.table(task)) for panel in _panels]
    return [(title, table) for title, table in made if table.rows]
