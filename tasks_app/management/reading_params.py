"""Params of a task as they are written on a command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tasks_app.engine import registry
from tasks_app.errors import ParamsInvalid


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
