"""The fields of a model as the console's forms need them: params of an operation, options and params of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

ParamKind = Literal["text", "integer", "number", "flag", "object", "list", "json", "moment"]
_KINDS: dict[str, ParamKind] = {
    "string": "text", "integer": "integer", "number": "number", "boolean": "flag", "object": "object", "array": "list",
}  # fmt: skip
UNITS = {
    "sec": "s", "hours": "h", "days": "d", "deg": "°", "arcsec": "arcsec", "arcmin": "arcmin", "jy": "Jy", "hz": "Hz",
    "gb": "GB", "bytes": "bytes", "mjd": "MJD (UTC)",
}  # fmt: skip
"""What the last part of a field's name says of its unit."""
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


@dataclass(frozen=True, kw_only=True)
class ParamField:
    """One field, as its model describes it."""

    name: str
    kind: ParamKind
    required: bool
    description: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    """Of a text, of its length."""
    bounds: str = ""
    """The bounds of a number in words."""
    choices: tuple[str, ...] = ()
    entries: str = ""
    """What a list holds, where that is more than any values."""

    @property
    def unit(self) -> str:
        """The unit of a number, from its name."""
        return UNITS.get(self.name.rpartition("_")[2], "") if self.kind in ("integer", "number") else ""


def fields_of(model: type[BaseModel]) -> list[ParamField]:
    """Return the fields of a model, a reason last."""
    schema = model.model_json_schema()
    required, shared = schema.get("required", ()), schema.get("$defs", {})
    shapes = schema.get("properties", {}).items()
    return sorted((_field(name, shape, name in required, shared) for name, shape in shapes), key=_is_reason)


def _is_reason(field: ParamField) -> bool:
    return field.name == "reason"


def _field(name: str, shape: Mapping[str, Any], required: bool, shared: Mapping[str, Any]) -> ParamField:
    given = _given(shape, shared)
    return ParamField(
        name=name,
        kind="moment" if given.get("format") == "date-time" else _KINDS.get(given.get("type", ""), "json"),
        required=required,
        description=shape.get("description", ""),
        default=shape.get("default"),
        minimum=given.get("minimum"),
        maximum=given.get("maximum", given.get("maxLength")),
        bounds=" and ".join(f"{words} {given[bound]:g}" for bound, words in _BOUNDS.items() if bound in given),
        entries=_entries(name, given),
        choices=tuple(map(str, given.get("enum", ()))) if given.get("type") == "string" else (),
    )


def _entries(name: str, given: Mapping[str, Any]) -> str:
    if given.get("items", {}).get("format") != "uuid":
        return ""
    return "run ids" if "run" in name else "task ids"


def _given(shape: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of what may be given beside null; nothing where there are several."""
    kinds = [each for each in shape.get("anyOf", (shape,)) if each.get("type") != "null"]
    found = kinds[0] if len(kinds) == 1 else {}
    if "$ref" in found:
        found = shared[found["$ref"].rpartition("/")[2]]
    return {**found, "type": "string"} if "const" in found and isinstance(found["const"], str) else found
