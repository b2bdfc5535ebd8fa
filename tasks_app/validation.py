"""What callers send, checked: bounds, names, and models whose faults have the path of the field and what is wanted.

No Django: the client uses it too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tasks_app import cleaning
from tasks_app.errors import ParamsInvalid

PRIORITY_LEAST, PRIORITY_DEFAULT, PRIORITY_MOST = 1, 5, 20
"""1 waits longest; 15 to 20 are critical and go before all others."""


SHOWN_CHARS = 60
CONFIG = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_WANTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a text",
    "tuple_type": "a list",
    "uuid_parsing": "a UUID",
    "uuid_type": "a UUID",
}


@dataclass(frozen=True)
class Fault:
    """Metadata of a field of text: what is wrong with a value that its length or its pattern refuses."""

    of: Callable[[str], str]


class Checked(BaseModel):
    """A model that raises ParamsInvalid with all faults; inside another one its faults are among that one's."""

    model_config = CONFIG

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise ParamsInvalid(list(problems_of(error, type(self)))) from None

    # Pydantic calls another __init__ than its own for models inside models too, where this must not raise.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Return the model of a body. Raises ParamsInvalid."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise ParamsInvalid(list(problems_of(error, cls))) from None


def problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[dict[str, str]]:
    """Yield the dotted path and the message of each fault of a model's values."""
    for fault in error.errors(include_url=False):
        path = [part for part in fault["loc"] if part != "[key]"]
        yield {"path": ".".join(map(str, path)) or "body", "message": _message(fault, model)}


def message_of(fault: ErrorDetails) -> str:
    """Return pydantic's message of a fault of a model that is none of ours, without what pydantic puts before it."""
    return fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


def bounds_of(field: FieldInfo) -> tuple[Any, Any]:
    """Return the least and the largest value of a field, or its least and largest length; None where there is none."""
    found = {name: getattr(each, name) for each in field.metadata for name in _BOUNDS if hasattr(each, name)}
    least, most = (next((found[name] for name in names if name in found), None) for names in (_BOUNDS[:2], _BOUNDS[2:]))
    return least, most


def kinds_of(annotation: Any) -> set[Any]:
    """Return all classes that a field's annotation is made of, in whatever way."""
    if get_origin(annotation) is None:
        return {annotation}
    return {get_origin(annotation)} | {kind for part in get_args(annotation) for kind in kinds_of(part)}


def models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the models that a model's fields hold, and those in them."""
    for field in model.model_fields.values():
        for kind in kinds_of(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield kind
                yield from models_in(kind)


_BOUNDS = ("ge", "min_length", "le", "max_length")


def _message(fault: ErrorDetails, model: type[BaseModel]) -> str:
    kind, given = fault["type"], fault["input"]
    if kind == "missing":
        return "is required"
    holder, field = _field_at(model, fault["loc"])
    if kind == "extra_forbidden":
        return f"unknown field; expected one of {', '.join(holder.model_fields)}"
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if field is not None and kind in ("string_too_long", "string_pattern_mismatch"):
        for each in field.metadata:
            if isinstance(each, Fault):
                return each.of(given)
    least, most = (None, None) if field is None else bounds_of(field)
    if kind in ("greater_than_equal", "less_than_equal"):
        wanted = f"at least {least}" if most is None else f"between {least} and {most}"
        return f"must be {wanted} (got {shown(given)})"
    if kind in ("string_too_short", "string_too_long"):
        return f"must be {least or 0} to {most} characters long (got {len(given)})"
    if kind in ("too_short", "too_long"):
        return f"must have {least or 0} to {most} entries (got {len(given)})"
    if kind in _WANTED:
        return f"must be {_WANTED[kind]} (got {shown(given)})"
    return f"{fault['msg'][:1].lower()}{fault['msg'][1:]} (got {shown(given)})"


def shown(value: Any) -> str:
    """Return a value as an error shows it: on one line, and not long."""
    if isinstance(value, int) and value.bit_length() > 4 * SHOWN_CHARS:
        return f"an integer of {value.bit_length()} bits"
    return cleaning.bounded(cleaning.text(repr(value)), SHOWN_CHARS)


def _field_at(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[type[BaseModel], FieldInfo | None]:
    """Return the model that holds the field at a place, and the field unless it is unknown."""
    field = model.model_fields.get(str(loc[0])) if loc else None
    if field is not None and len(loc) > 1:
        below = [part for part in loc[1:] if part != "[key]"]
        for inner in kinds_of(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                indexed = {tuple, list, dict} & kinds_of(field.annotation)
                return _field_at(inner, below[1:] if indexed else below)
    return model, field


QUEUE_CHARS, KEY_CHARS = 100, 200
NAME, KEY = r"[A-Za-z0-9][A-Za-z0-9._-]*", r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]*"


def fault_of_name(name: str) -> str:
    """Return what is wrong with the name of a queue; nothing when it may be used."""
    allowed = "letters, digits, dots, hyphens and underscores"
    return _fault(NAME, name, QUEUE_CHARS, allowed)


def fault_of_key(key: str) -> str:
    """Return what is wrong with a limit key; nothing when it may be used."""
    return _fault(KEY, key, KEY_CHARS, "letters, digits and . _ : / @ + = -")


def _fault(allowed: str, text: str, most: int, words: str) -> str:
    if len(text) <= most and re.fullmatch(allowed, text):
        return ""
    shown = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
    return f"must be 1 to {most} {words}, the first a letter or digit (got {shown!r})"
