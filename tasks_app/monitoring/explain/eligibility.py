"""Why live workers pass over a task: they do not know its name, or their hosts lack what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks_app.monitoring.explain.findings import Case, Code, Finding

if TYPE_CHECKING:
    from tasks_app.monitoring.explain.workers import Server

SHOWN = 5


def unknown_name(case: Case, servers: Sequence[Server]) -> Finding:
    """No live worker of the queue knows the task's name."""
    name, queue = case.task.task_name, case.task.queue_id
    return Finding(
        code=Code.UNKNOWN_TASK_NAME,
        weight="blocks",
        text=f"No live worker of the queue {queue} knows the task name {name}, so none claims it: {_listed(servers)}.",
        do="Start workers of the version that has this task name, or cancel the task.",
        detail={"task_name": name, "workers": [{"worker": s.label, "host": s.host} for s in servers[:SHOWN]]},
    )


def roots_missing(servers: Sequence[Server]) -> Finding:
    """The hosts of all workers that could run it do not see all data roots."""
    each = ", ".join(f"{server} does not see {', '.join(server.missing_roots)}" for server in servers[:SHOWN])
    return Finding(
        code=Code.ROOTS_MISSING,
        weight="blocks",
        text=f"The live workers of this queue claim nothing, because data roots are missing on their hosts: {each}.",
        do="Mount them there, or, where a root is new, mark it: manage.py absurd_setup --mark-roots. "
        "The workers go on by themselves.",
        detail={"workers": [{"worker": s.label, "host": s.host, "missing": s.missing_roots} for s in servers[:SHOWN]]},
    )


def unavailable(case: Case, servers: Sequence[Server]) -> list[Finding]:
    """Every host that could run it has lately lacked something that it needs."""
    on: dict[str, dict[str, Any]] = case.task.unavailable_on
    waits = {server.host_id: _until(on[server.host_id]) for server in servers if server.host_id in on}
    waits = {host_id: until for host_id, until in waits.items() if until > case.as_of}
    if not waits or any(server.host_id not in waits for server in servers):
        return []
    reasons = "; ".join(f"{on[host_id]['host']}: {on[host_id]['reason']}" for host_id in list(waits)[:SHOWN])
    return [
        Finding(
            code=Code.UNAVAILABLE,
            weight="blocks",
            text=f"Every live host has lately lacked what it needs ({reasons}); "
            f"the first tries again {case.until(min(waits.values()))}.",
            do="Repair what is missing there, or start a worker on a host that has it; retrying costs nothing.",
            detail={"hosts": [on[host_id] for host_id in list(waits)[:SHOWN]]},
        )
    ]


def _until(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["until"])


def _listed(servers: Sequence[Server]) -> str:
    more = len(servers) - SHOWN
    return ", ".join(map(str, servers[:SHOWN])) + (f" and {more} more" if more > 0 else "")
