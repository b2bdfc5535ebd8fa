"""What the OpenAPI schema cannot find out by itself: keys, strict bodies, the shape of errors, links of operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

from tasks_app.api.access import ScopedAccess, need_of
from tasks_app.auth.keys import HEADER
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.operation import TargetKind
from tasks_app.validation import models_in

NUMBER_MOST = 1e50
"""The bound of django-filter, which refuses larger numbers."""


class Schema(AutoSchema):
    """How OpenAPI describes a view; the pages know the view, whose `list_name` is part of what they describe."""

    def get_filter_backends(self) -> list[Any]:
        has_filters = self.method == "GET" and getattr(self.view, "filterset_class", None)
        return list(getattr(self.view, "filter_backends", ())) if has_filters else []

    def _get_filter_parameters(self) -> list[dict[str, Any]]:
        """Return the conditions of a list: none may be empty, because it would be no condition."""
        found: list[dict[str, Any]] = super()._get_filter_parameters()  # type: ignore[no-untyped-call]
        for parameter in found:
            shape = parameter["schema"]
            if shape.get("type") == "array":
                shape["minItems"] = 1
            elif shape.get("type") == "number":
                shape["maximum"] = NUMBER_MOST
            elif shape.get("type") == "string" and not {"enum", "format", "pattern"} & shape.keys():
                shape["minLength"] = 1
        return found

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        """Return the description of an operation, with the scope that it needs as `x-scope`."""
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            is_checked = any(isinstance(each, ScopedAccess) for each in self.view.get_permissions())
            need = need_of(self.view, self.method) if is_checked else None
            operation["x-scope"] = need.scope if need else None
        return operation

    def get_operation_id(self) -> str:
        if name := getattr(self.view, "list_name", None):
            return f"list_{name}"
        name = type(self.view).__name__.removesuffix("View")
        return "get" + "".join(f"_{each.lower()}" if each.isupper() else each for each in name)

    def get_summary(self) -> str:
        """Return what an overview shows: the operation's id in words."""
        given = super().get_summary() or self.get_operation_id().replace("_", " ")
        return str(given[:1].upper() + given[1:])

    def _get_paginator(self) -> Any:
        paginator = super()._get_paginator()  # type: ignore[no-untyped-call]
        if paginator is not None:
            paginator.view = self.view
        return paginator


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes the key: in one of two headers."""

    target_class = "tasks_app.api.access.ApiKeyAuthentication"
    name = ["apiKey", "bearerKey"]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [{"type": "apiKey", "in": "header", "name": HEADER}, {"type": "http", "scheme": "bearer"}]


class TicketScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes a ticket to the feed."""

    target_class = "tasks_app.api.views.feed.TicketAuthentication"
    name = "feedTicket"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "query", "name": "ticket"}


_NAMES = {"Params": "Reason", "ReasonedParams": "RequiredReason"}


class PydanticShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """How the schema describes a body that is a pydantic model: by the model's own JSON Schema."""

    target_class = "pydantic.BaseModel"
    match_subclasses = True
    priority = 1
    """Before the framework's own, which writes `null` as OpenAPI 3.0 cannot."""

    def get_name(self, auto_schema: Any, direction: Any) -> str:
        name: str = self.target.__name__
        return _NAMES.get(name, name.removesuffix("Params"))

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        shape = _in_openapi(self.target.model_json_schema(ref_template="#/components/schemas/{model}"))
        models = {model.__name__: model for model in models_in(self.target)}
        for name, inner in shape.pop("$defs", {}).items():
            component = ResolvedComponent(  # type: ignore[no-untyped-call]
                name=name, type=ResolvedComponent.SCHEMA, object=models[name], schema=inner
            )
            auto_schema.registry.register_on_missing(component)
        return dict(shape)


def _in_openapi(shape: Any) -> Any:
    """Return a JSON Schema in the words of OpenAPI 3.0: what may be null is `nullable`."""
    if isinstance(shape, list):
        return [_in_openapi(each) for each in shape]
    if not isinstance(shape, dict):
        return shape
    found = {
        name: _in_openapi(inner)
        for name, inner in shape.items()
        if not (name == "title" and isinstance(inner, str)) and not (name == "default" and inner is None)
    }
    choices = found.get("anyOf", [])
    if {"type": "null"} in choices:
        others = [each for each in choices if each != {"type": "null"}]
        rest = {name: inner for name, inner in found.items() if name != "anyOf"}
        (other,) = others
        return {**({"allOf": [other]} if "$ref" in other else other), **rest, "nullable": True}
    return found


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Give every operation the one shape that all errors have."""
    problem = {
        "type": "object",
        "description": "An error (RFC 9457). `errors` names each bad field by its path.",
        "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": {
            **{name: {"type": "string"} for name in ("type", "title", "code", "detail", "remedy", "request_id")},
            "status": {"type": "integer"},
            "current_status": {"$ref": "#/components/schemas/TaskStatusEnum"},
            "errors": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}},
        },
    }
    result["components"]["schemas"]["Problem"] = problem
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"].setdefault("default", {"description": "An error", "content": content})
            if any(each["name"] == "If-None-Match" for each in operation.get("parameters", ())):
                operation["responses"]["304"] = {"description": "Nothing has changed."}
    return result


@dataclass(frozen=True)
class Link:
    """From the answers of the source operations to the targets, with the parameters and the body that these take."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    parameters: Mapping[str, str]
    body: Mapping[str, Any] | None = None


_KINDS: Sequence[TargetKind] = ("task", "run", "schedule", "worker")
_TASK_ACTIONS, _RUN_ACTIONS, _SCHEDULE_ACTIONS, _WORKER_ACTIONS = (
    tuple(f"{operation.name}_{kind}" for operation in operations_on(kind)) for kind in _KINDS
)
_TASK_READS = ("get_task", "task_events", "task_attempts", "explain_task", "task_log")
_CONFIRMED = {"dry_run": False, "token": "$response.body#/token", "reason": "$request.body#/reason"}

LINKS = (
    Link(
        ("spawn_task", "run_schedule", "get_task", *_TASK_ACTIONS),
        (*_TASK_READS, *_TASK_ACTIONS),
        {"task_id": "$response.body#/task_id"},
    ),
    Link(("list_tasks", "spawn_tasks"), (*_TASK_READS, *_TASK_ACTIONS), {"task_id": "$response.body#/tasks/0/task_id"}),
    Link(
        ("task_attempts",),
        ("attempt_log",),
        {"task_id": "$request.path.task_id", "number": "$response.body#/attempts/0/number"},
    ),
    Link(("spawn_run", "get_run"), ("get_run", "get_run_graph", *_RUN_ACTIONS), {"run_id": "$response.body#/run_id"}),
    Link(_RUN_ACTIONS, ("get_run", *_RUN_ACTIONS), {"run_id": "$response.body#/run/run_id"}),
    Link(("list_runs",), ("get_run", *_RUN_ACTIONS), {"run_id": "$response.body#/runs/0/run_id"}),
    Link(("get_run", "get_run_graph"), ("get_task",), {"task_id": "$response.body#/nodes/0/task_id"}),
    Link(
        ("list_schedules",),
        ("get_schedule", "change_schedule", *_SCHEDULE_ACTIONS),
        {"name": "$response.body#/schedules/0/name"},
    ),
    Link(
        ("save_schedule", "get_schedule", "change_schedule", "enable_schedule", "disable_schedule"),
        ("get_schedule", "save_schedule", "change_schedule", *_SCHEDULE_ACTIONS),
        {"name": "$response.body#/name"},
    ),
    Link(("delete_schedule",), ("get_schedule", "save_schedule"), {"name": "$request.path.name"}),
    Link(("list_workers",), ("get_worker", *_WORKER_ACTIONS), {"worker_id": "$response.body#/workers/0/boot_id"}),
    Link(
        ("get_worker", *_WORKER_ACTIONS),
        ("get_worker", *_WORKER_ACTIONS),
        {"worker_id": "$response.body#/boot_id"},
    ),
    Link(("emergency_stop",), ("emergency_stop",), {}, _CONFIRMED),
    Link(("emergency_recover",), ("emergency_recover",), {}, _CONFIRMED),
    Link(
        ("bulk",),
        ("bulk",),
        {},
        {"operation": "$request.body#/operation", "filter": "$request.body#/filter", **_CONFIRMED},
    ),
)


def add_links(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the links to every successful answer of their sources."""
    operations = {each["operationId"]: each for path in result["paths"].values() for each in path.values()}
    for link in LINKS:
        for source in link.sources:
            for answer in _successes(operations[source]):
                answer.setdefault("links", {}).update((target, _link(target, link)) for target in link.targets)
    return result


def _successes(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (answer for status, answer in operation["responses"].items() if status.startswith("2"))


def _link(target: str, link: Link) -> dict[str, Any]:
    body = {} if link.body is None else {"requestBody": dict(link.body)}
    return {"operationId": target, "parameters": dict(link.parameters), **body}
