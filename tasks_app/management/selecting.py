"""Tasks chosen by conditions, the same ones that the API's list knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.http import QueryDict

from tasks_app.errors import ParamsInvalid
from tasks_app.management.arguments import ago, moment, whole
from tasks_app.management.finding import find_run
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.models.task import PRIORITY_LEAST, PRIORITY_MOST
from tasks_app.postgresql import clock

_PARAMETER_OF = {
    "status": "status",
    "queue": "queue_name",
    "name": "task_name",
    "run": "run_id",
    "stage": "stage",
    "worker": "worker_id",
    "priority_min": "priority_min",
    "priority_max": "priority_max",
    "created_after": "created_after",
    "created_before": "created_before",
    "completed_after": "completed_after",
    "completed_before": "completed_before",
}


def add_conditions(parser: CommandParser, *, status_help: str) -> None:
    """Declare the options that choose tasks."""
    group = parser.add_argument_group("conditions, all of which must hold")
    add = group.add_argument
    add("--status", action="append", default=[], metavar="STATUS", help=status_help)
    add("--queue", metavar="NAME", help="tasks of this queue")
    add("--name", metavar="TASK_NAME", help="tasks of this name")
    add("--run", metavar="ID", help="tasks of this run, named by its id or first digits")
    add("--stage", metavar="STAGE", help="tasks of this stage of their run")
    add("--worker", metavar="LABEL", help="tasks last claimed by workers with this label")
    priority = whole(PRIORITY_LEAST, PRIORITY_MOST)
    add("--priority-min", type=priority, metavar="N", help="of at least this priority")
    add("--priority-max", type=priority, metavar="N", help="of at most this priority")
    for verb in ("created", "completed"):
        add(f"--{verb}-after", type=moment, metavar="MOMENT", help="2025-11-18T10:30:00Z, or how long ago: 2h")
        add(f"--{verb}-before", type=moment, metavar="MOMENT", help="the same, exclusive")


def has_conditions(options: dict[str, Any]) -> bool:
    """Whether any condition was given."""
    return any(options[name] for name in _PARAMETER_OF)


def selected(options: dict[str, Any]) -> TaskQuerySet:
    """Return the tasks that fulfil all conditions. Raises ParamsInvalid, naming each bad one, and RunNotFound."""
    from tasks_app.api.choosing import tasks_where  # here, because it loads the API's libraries

    query = QueryDict(mutable=True)
    for name, parameter in _PARAMETER_OF.items():
        value = options[name]
        if name == "run" and value:
            value = str(find_run(value).run_id)
        if name == "status":
            query.setlist(parameter, value)
        elif value:
            query[parameter] = clock.stamp(ago(value)) if isinstance(value, (datetime, timedelta)) else str(value)
    try:
        return tasks_where(query)
    except ParamsInvalid as fault:
        named = {parameter: f"--{name.replace('_', '-')}" for name, parameter in _PARAMETER_OF.items()}
        raise ParamsInvalid([{**each, "path": named[each["path"]]} for each in fault.problems]) from None
