"""JSON bodies that can be stored: bounded in size and depth, without what PostgreSQL refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

BODY_BYTES_MOST = 1_000_000
DEPTH_MOST = 50


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
        _check(body, 1)
        return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _check(value: Any, depth: int) -> None:
    if depth > DEPTH_MOST:
        raise ParseError(f"the JSON is nested deeper than {DEPTH_MOST} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ParseError("a number is too large to be stored")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)


def _check_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ParseError("a text holds a NUL character or half a surrogate pair, which cannot be stored")
