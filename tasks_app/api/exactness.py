"""Bodies mean what they say: 0 is no text, "yes" is no boolean. The framework would make the one into the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rest_framework import serializers

_TEXTS = (
    serializers.CharField,
    serializers.UUIDField,
    serializers.DateTimeField,
)
_REAL = (int, float)


def refuse_coerced(shape: serializers.BaseSerializer[Any], given: Any) -> None:
    """Refuse values whose JSON type is not that of their field. Raises ValidationError with the path of each."""
    faults = dict(_faults(shape, given, ""))
    if faults:
        raise serializers.ValidationError(faults)


def _faults(field: Any, given: Any, path: str) -> Iterator[tuple[str, list[str]]]:
    if given is None:
        return
    if isinstance(field, (serializers.ListSerializer, serializers.ListField)):
        if isinstance(given, list):
            for number, each in enumerate(given):
                yield from _faults(field.child, each, f"{path}.{number}")
    elif isinstance(field, serializers.Serializer):
        if isinstance(given, dict):
            for name, inner in field.fields.items():
                yield from _faults(inner, given.get(name), f"{path}.{name}" if path else name)
    elif wanted := _wanted(field, given):
        yield path, [f"Write {wanted}."]


def _wanted(field: Any, given: Any) -> str:
    """Return what the field wants instead of the given value; nothing when it is right."""
    if isinstance(field, _TEXTS):
        return "" if isinstance(given, str) else "a text"
    if isinstance(field, serializers.BooleanField):
        return "" if isinstance(given, bool) else "true or false"
    if isinstance(field, (serializers.IntegerField, serializers.FloatField)):
        return "" if isinstance(given, _REAL) and not isinstance(given, bool) else "a number"
    return ""
