"""Why a pending task is not running."""

from __future__ import annotations

from tasks_app.models import Hold
from tasks_app.monitoring.explain import holds, limits, position, workers
from tasks_app.monitoring.explain.dependencies import waiting
from tasks_app.monitoring.explain.findings import Case, Finding


def findings(case: Case) -> list[Finding]:
    """Return every cause, those first that somebody has decided, then those of the task, then those of the workers."""
    held = bool(case.task.hold & (Hold.FUTURE | Hold.DEPENDENCY))
    found = [*holds.frozen(case), *holds.paused(case), *waiting(case), *holds.future(case)]
    if not held:
        found += limits.limits(case)
    servers = workers.live_servers(case)
    found += workers.lasting(case, servers)
    if not held:
        blocked = any(finding.weight == "blocks" for finding in found)
        # What the next end of an attempt changes matters only where nothing lasting is in the way.
        passing = [] if blocked else workers.passing(case, servers)
        blocked = blocked or any(finding.weight == "blocks" for finding in passing)
        found += [*passing, *position.place(case, servers, blocked=blocked)]
    return [*found, *holds.last_attempt(case), *holds.ends(case)]
