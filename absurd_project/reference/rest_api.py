"""Every operation of the REST API, from the OpenAPI schema that the server itself gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from absurd_project.reference import markdown

INTRODUCTION = """
Made from the OpenAPI schema, which a server gives at `/api/absurd/schema` and shows at `/api/absurd/docs/`. *Scope*
is what a key must have; people need the permission of the same operation.
"""
PREFIX = "/api/absurd"
SCOPE = "x-scope"

Schema = Mapping[str, Any]


def page() -> str:
    """Return the page."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    parts = [" ".join(INTRODUCTION.split())]
    for tag in (each["name"] for each in schema["tags"]):
        parts.append(f"## {tag}")
        for method, path, operation in _operations(schema):
            if operation["tags"][0] == tag:
                parts += _operation(schema, method, path, operation)
    return markdown.page("REST API", *parts)


def _operations(schema: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path.removeprefix(PREFIX), operation


def _operation(schema: Schema, method: str, path: str, operation: Schema) -> list[str]:
    conditions = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
    head = "### " + markdown.code(f"{method} {path}")
    text = markdown.text(operation.get("description") or operation["summary"])
    return [
        head,
        f"{text.rstrip('.')}. Scope: {operation[SCOPE] or 'none'}.",
        markdown.table(("in the query", "type", ""), [_condition(each) for each in conditions]),
        _body(schema, operation),
    ]


def _condition(parameter: Schema) -> tuple[str, ...]:
    shape = parameter["schema"]
    words = [*shape.get("enum", ()), *shape.get("items", {}).get("enum", ())]
    kind = " or ".join(f"`{word}`" for word in words) or shape.get("format") or shape.get("type", "")
    text = "" if words else parameter.get("description", "")  # which would only list the words again
    return markdown.code(parameter["name"]), markdown.text(kind), markdown.text(text)


def _body(schema: Schema, operation: Schema) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return markdown.fields(_whole(schema, content.get("schema", {})), "in the body")


def _whole(schema: Schema, shape: Schema) -> Schema:
    """Return the shape itself, where it is only named."""
    name = shape.get("$ref", "").rpartition("/")[2]
    return schema["components"]["schemas"][name] if name else shape
