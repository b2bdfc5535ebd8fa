"""What the OpenAPI schema cannot find out by itself."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from rest_framework.serializers import CharField

from tasks_app.api.authentication import HEADER
from tasks_app.api.pagination import LIMIT_MOST

NAMED_CURSORS = frozenset({"list_sources"})
"""Operations whose cursor is a name."""
_NUMBER = {"type": "string", "pattern": "^[0-9]{0,15}$"}
_BOUNDS: dict[tuple[str, str], dict[str, Any]] = {
    ("query", "limit"): {"type": "integer", "minimum": 1, "maximum": LIMIT_MOST},
}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes the key."""

    target_class = "tasks_app.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": HEADER}


class TicketScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes a ticket to the feed."""

    target_class = "tasks_app.api.views.feed.TicketAuthentication"
    name = "feedTicket"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "query", "name": "ticket"}


class StrictShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """How the schema says that a body has no other fields, and which of its texts must not be blank."""

    target_class = "tasks_app.api.serializers.Strict"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        shape: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        for name, field in self.target.fields.items():
            if type(field) is CharField and not field.allow_blank:
                shape["properties"][name].setdefault("pattern", r"\S")
        return {**shape, "additionalProperties": False}


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
            for parameter in operation.get("parameters", ()):
                parameter["schema"] |= _BOUNDS.get((parameter["in"], parameter["name"]), {})
                if parameter["name"] == "cursor" and operation["operationId"] not in NAMED_CURSORS:
                    parameter["schema"] |= _NUMBER
                if parameter["name"] == "If-None-Match":
                    operation["responses"]["304"] = {"description": "Nothing has changed."}
    return result
