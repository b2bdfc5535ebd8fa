"""Bodies of requests: JSON objects that can be stored, whose values are not converted from one type to another."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import IO, Any, NoReturn

from rest_framework import serializers
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

BODY_BYTES_MOST = 1_000_000
DEPTH_MOST = 50
_TEXTS = (serializers.CharField, serializers.UUIDField, serializers.DateTimeField)
_NUMBERS = (serializers.IntegerField, serializers.FloatField)


class BodyTooLarge(APIException):
    """The body is larger than any task's params may be."""

    status_code = 413
    default_code = "body_too_large"
    default_detail = f"the body is larger than {BODY_BYTES_MOST} bytes"


class JsonObjectParser(BaseParser):
    """Parses a JSON object."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the object. Raises ParseError, or BodyTooLarge."""
        raw = stream.read(BODY_BYTES_MOST + 1)
        if len(raw) > BODY_BYTES_MOST:
            raise BodyTooLarge
        try:
            body = json.loads(raw.decode(), parse_constant=_refuse_constant)
        except RecursionError:
            raise ParseError(f"the JSON is nested deeper than {DEPTH_MOST} levels") from None
        except ValueError as error:
            raise ParseError(f"the body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise ParseError("the body must be a JSON object")
        _check_storable(body, 1)
        return body


class StrictSerializer(serializers.Serializer[Any]):
    """What callers send: every field must be known, and every value must have its field's JSON type.

    The framework alone would make the text "0" of the number 0, and true of the text "yes".
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            known = ", ".join(self.fields)
            faults = dict.fromkeys(sorted(set(data) - set(self.fields)), f"unknown field; expected one of {known}")
            for name, field in self.fields.items():
                faults |= dict(_wrong_types(field, data.get(name), name))
            if faults:
                raise serializers.ValidationError(faults)
        return super().to_internal_value(data)


def body_of(request: Request, shape: type[serializers.BaseSerializer[Any]], *, partial: bool = False) -> dict[str, Any]:
    """Return the validated body, or of a `partial` one what it contains; an absent body counts as empty.

    Raises DRF's ValidationError.
    """
    serializer = shape(data=request.data or {}, partial=partial)
    serializer.is_valid(raise_exception=True)
    fields: dict[str, Any] = serializer.validated_data
    return fields


def _wrong_types(field: Any, given: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and fault of each value of another JSON type; nested strict serializers check their own."""
    if isinstance(field, serializers.ListField) and isinstance(given, list):
        for number, each in enumerate(given):
            yield from _wrong_types(field.child, each, f"{path}.{number}")
    elif given is None:
        return
    elif isinstance(field, _TEXTS) and not isinstance(given, str):
        yield path, "must be a string"
    elif isinstance(field, serializers.BooleanField) and not isinstance(given, bool):
        yield path, "must be true or false"
    elif isinstance(field, _NUMBERS) and (not isinstance(given, int | float) or isinstance(given, bool)):
        yield path, "must be a number"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _check_storable(value: Any, depth: int) -> None:
    if depth > DEPTH_MOST:
        raise ParseError(f"the JSON is nested deeper than {DEPTH_MOST} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ParseError("a number is too large to be stored")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name)
            _check_storable(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_storable(inner, depth + 1)


def _check_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ParseError("a text contains a NUL character or half a surrogate pair, which cannot be stored")
