"""Every task name and workflow from the registry, and every operation from the catalogue of operations."""

from __future__ import annotations

from collections.abc import Iterator

from absurd_project.reference import markdown
from tasks_app import formats
from tasks_app.engine import registry
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.routes import TARGETS, route_of
from tasks_app.workflows.registry import known

TASK_NAMES = """
What can be spawned, with the params of each: those of installed packages too. `GET /task-names` has the same with the
JSON Schema.
"""
OPERATIONS = """
What people and programs do to tasks, runs, workers, queues and the system. Each is the same in console, API and
shell: previewed, permitted, given a reason, recorded as an event.
"""


def task_names() -> str:
    """Return the page of task names and workflows."""
    parts = [" ".join(TASK_NAMES.split())]
    for name in registry.names():
        spec = registry.get(name)
        parts += [f"## {name}", markdown.text(spec.description), ", ".join(_limits(spec)) + "."]
        parts.append(markdown.fields(spec.schema))
    parts.append("## Workflows")
    for workflow in known():
        parts += [f"### {workflow.name}", markdown.text(workflow.description), markdown.fields(workflow.schema)]
    return markdown.page("Task names", *parts)


def _limits(spec: registry.TaskSpec) -> Iterator[str]:
    yield f"Timeout {formats.duration(spec.timeout_sec)}" if spec.timeout_sec else "Timeout of its queue"
    yield f"retries {'of its queue' if spec.max_retries is None else spec.max_retries}"
    yield f"memory {spec.memory_gb:g} GB"
    yield f"cores {spec.cores}"
    yield f"disk {spec.disk_gb:g} GB"
    yield "in a process of its own" if spec.isolation == "process" else "in a thread of the worker"
    if spec.requires:
        yield f"where {', '.join(spec.requires)} is installed"


def operations() -> str:
    """Return the page of operations."""
    parts = [" ".join(OPERATIONS.split())]
    for kind in TARGETS:
        parts.append(f"## On a {kind}" if kind != "system" else "## On the system")
        for operation in operations_on(kind):
            method, path = route_of(kind, operation.name)
            events = " or ".join(f"`{each}`" for each in operation.event_types)
            parts += [
                f"### {operation.label}",
                f"{markdown.text(operation.effect).rstrip('.')}. `{method} /{path}`; scope `{operation.scope}`, "
                f"permission `{operation.permission}`; writes {events}.",
                markdown.fields(operation.params_model.model_json_schema()),
            ]
    return markdown.page("Operations", *parts)
