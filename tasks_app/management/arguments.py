"""Command-line arguments: values, those made from the fields of a model, and the params of a task."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks_app.engine import registry
from tasks_app.errors import ParamsInvalid
from tasks_app.postgresql import clock
from tasks_app.validation import bounds_of, kinds_of

UNITS_SEC = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
FLAGS = {"queue_name": "--queue"}


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"write {least} to {most}, not {text!r}")
        return int(text)

    return read


def number(least: float) -> Callable[[str], float]:
    """Return a reader of finite numbers."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"write a number not below {least:g}, not {text!r}")
        return value

    return read


def moment(text: str) -> datetime | timedelta:
    """Read a moment: ISO 8601, in UTC without a time zone, or a distance from now, as in `90s`, `30m`, `2h`, `7d`.

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


def add_fields(parser: argparse.ArgumentParser, model: type[BaseModel], *, without: Collection[str] = ()) -> None:
    """Add an argument for each field of a model, which checks what is given; one with choices has no flag."""
    for name, field in model.model_fields.items():
        if name not in without:
            flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
            choices = _choices(field)
            about = {"help": _help(field), **({"choices": choices} if choices else _how_to_read(name, field))}
            if choices:
                parser.add_argument(name, metavar=name.upper(), **about)
            else:
                parser.add_argument(flag, dest=name, required=field.is_required(), **about)


def _choices(field: FieldInfo) -> list[str]:
    shape: dict[str, Any] = {}
    if callable(extra := field.json_schema_extra):
        extra(shape)
    else:
        shape.update(extra or {})
    found = shape.get("enum")
    return list(map(str, found)) if isinstance(found, list) else []


def _how_to_read(name: str, field: FieldInfo) -> dict[str, Any]:
    kinds = {kind for kind in kinds_of(field.annotation) if isinstance(kind, type)}
    if bool in kinds:
        return {"action": "store_true"}
    if UUID in kinds:
        return {"action": "append", "metavar": "ID"}
    if datetime in kinds:
        return {"type": moment, "metavar": "MOMENT"}
    if any(issubclass(kind, (BaseModel, dict)) for kind in kinds):
        return {"type": _json_argument, "metavar": "JSON"}
    if kinds & {int, float}:
        return {"type": _number_or_text, "metavar": "SEC" if name.endswith("_sec") else "N"}
    return {"metavar": {"name": "NAME", "key": "KEY"}.get(name.rpartition("_")[2], "TEXT")}


def fields_in(
    given: Mapping[str, Any],
    model: type[BaseModel],
    *,
    without: Collection[str] = (),
    counted: Callable[[datetime | timedelta], datetime] = hence,
) -> dict[str, Any]:
    """Return the fields of the model that were given as arguments; `counted` resolves distances from now."""
    found = {}
    for name in model.model_fields:
        value = given.get(name)
        if name not in without and value is not None and value is not False:
            found[name] = counted(value) if isinstance(value, (datetime, timedelta)) else value
    return found


def _help(field: FieldInfo) -> str:
    least, most = bounds_of(field) if {int, float} & kinds_of(field.annotation) else (None, None)
    within = f" ({least} to {most})" if least is not None and most is not None else ""
    return f"{field.description}{within}".replace("%", "%%")


def _number_or_text(text: str) -> int | float | str:
    """Read a number; anything else is left for the model to refuse by name."""
    for read in (int, float):
        try:
            if text.isascii() and "_" not in text:
                return read(text)
        except ValueError:
            continue
    return text


def _json_argument(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"write JSON, not {text!r}: {error}") from None


def read_params(task_name: str, pairs: Sequence[str], document: str | None) -> dict[str, Any]:
    """Return the params: those of the JSON document, replaced by those given as `key=value`.

    A value is parsed as JSON if it is valid JSON, except where the task name takes a text. `key:=json` must be JSON.
    Raises ParamsInvalid.
    """
    params = _document(document) if document is not None else {}
    spec = registry.find(task_name)
    schemas: dict[str, Any] = spec.params_model.model_json_schema().get("properties", {}) if spec else {}
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
        name = text[1:]
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            _refuse("--params", f"{name} cannot be read: {error}")
    found = _json(text, "--params")
    if not isinstance(found, dict):
        _refuse("--params", "write a JSON object")
    return found


def _json(text: str, path: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"not JSON: {error}")


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _takes_text(schema: dict[str, Any]) -> bool:
    return any(each.get("type") == "string" for each in (schema, *schema.get("anyOf", ())))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _refuse(path: str, message: str) -> NoReturn:
    raise ParamsInvalid([{"path": path, "message": message}])
