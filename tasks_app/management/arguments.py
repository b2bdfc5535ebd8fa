"""Values of command-line options and params of tasks, read strictly; errors name the option."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from tasks_app.engine import registry
from tasks_app.errors import ParamsInvalid
from tasks_app.postgresql import clock

UNITS_SEC = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"write {least} to {most}, not {text!r}")
        return int(text)

    return read


def seconds(least: float) -> Callable[[str], float]:
    """Return a reader of durations in seconds."""
    return number(least, of=" of seconds")


def number(least: float, *, of: str = "") -> Callable[[str], float]:
    """Return a reader of finite numbers; `of` says in what they count."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"write a number{of} not below {least:g}, not {text!r}")
        return value

    return read


def moment(text: str) -> datetime | timedelta:
    """Read a moment: ISO 8601, in UTC unless it says otherwise, or a distance from now, as in `90s`, `30m`, `2h`, `7d`.

    What a distance is counted from is known only with the database's clock, so it is left to the caller.
    """
    if found := re.fullmatch(r"(\d{1,6})([smhd])", text, re.ASCII):
        return timedelta(seconds=int(found[1]) * UNITS_SEC[found[2]])
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"write a moment as 2025-11-18T10:30:00Z or 2h, not {text!r}") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def ago(read: datetime | timedelta) -> datetime:
    """Return the moment that was read, a distance being counted back from now."""
    return clock.now() - read if isinstance(read, timedelta) else read


def hence(read: datetime | timedelta) -> datetime:
    """Return the moment that was read, a distance being counted on from now."""
    return clock.now() + read if isinstance(read, timedelta) else read


def read_params(task_name: str, pairs: Sequence[str], document: str | None) -> dict[str, Any]:
    """Return the params: those of the JSON document, with `key=value` pairs in place of what it says of their keys.

    A value is read as JSON where it is JSON, so that `3`, `true` and `[1,2]` are what they look like, except where the
    task name takes a text. `key:=json` is JSON in any case. Raises ParamsInvalid.
    """
    params = _document(document) if document is not None else {}
    schemas = _schemas_of(task_name)
    for pair in pairs:
        key, separator, value = pair.partition("=")
        strictly = key.endswith(":")
        key = key.removesuffix(":")
        if not separator or not key:
            _refuse("params", f"write key=value, not {pair!r}")
        if strictly:
            params[key] = _json(value, f"params.{key}")
        else:
            params[key] = value if _takes_text(schemas.get(key, {})) else _json_or_text(value)
    return params


def _document(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        text = _file(text[1:])
    found = _json(text, "--params")
    if not isinstance(found, dict):
        _refuse("--params", "write a JSON object")
    return found


def _file(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        _refuse("--params", f"{name} cannot be read: {error}")


def _json(text: str, path: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"that is not JSON: {error}")


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _schemas_of(task_name: str) -> dict[str, Any]:
    spec = registry.find(task_name)
    found: dict[str, Any] = spec.params_model.model_json_schema().get("properties", {}) if spec else {}
    return found


def _takes_text(schema: dict[str, Any]) -> bool:
    return any(each.get("type") == "string" for each in (schema, *schema.get("anyOf", ())))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _refuse(path: str, message: str) -> NoReturn:
    raise ParamsInvalid([{"path": path, "message": message}])
