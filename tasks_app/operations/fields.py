"""What an operation's params look like, for the console's forms and the shell's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tasks_app.operations.operation import Params

ParamKind = Literal["text", "number", "flag", "object", "moment"]
_KINDS: dict[str, ParamKind] = {"string": "text", "integer": "number", "boolean": "flag", "object": "object"}


@dataclass(frozen=True, kw_only=True)
class ParamField:
    """One param, as its model describes it."""

    name: str
    kind: ParamKind
    required: bool
    description: str
    minimum: int | None = None
    maximum: int | None = None
    """Of a text, of its length."""
    choices: tuple[str, ...] = ()


def fields_of(model: type[Params]) -> list[ParamField]:
    """Return the params of a model, the reason last."""
    schema = model.model_json_schema()
    found = [_field(name, shape, name in schema.get("required", ())) for name, shape in schema["properties"].items()]
    return sorted(found, key=lambda field: field.name == "reason")


def _field(name: str, shape: Mapping[str, Any], required: bool) -> ParamField:
    given = next((each for each in shape.get("anyOf", ()) if each.get("type") != "null"), shape)
    return ParamField(
        name=name,
        kind="moment" if given.get("format") == "date-time" else _KINDS[given["type"]],
        required=required,
        description=shape.get("description", ""),
        minimum=given.get("minimum"),
        maximum=given.get("maximum", given.get("maxLength")),
        choices=tuple(shape.get("enum", ())),
    )
