"""Arguments of the shell for the options of a new task, made from their one description."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks_app.engine.options import TaskOptions
from tasks_app.management.arguments import hence, moment
from tasks_app.management.selection import find_task_id
from tasks_app.validation import bounds_of, kinds_of

FLAGS = {"queue_name": "--queue"}
BESIDE = frozenset({"task_name", "params"})
"""Options that a command reads in ways of its own."""


def add_options(parser: CommandParser, model: type[TaskOptions] = TaskOptions) -> None:
    """Add an argument for each option; what is given is checked by the model."""
    for name, field in model.model_fields.items():
        if name in BESIDE:
            continue
        kinds, flag = kinds_of(field.annotation), FLAGS.get(name, f"--{name.replace('_', '-')}")
        told: dict[str, Any] = {"dest": name, "help": _help(field), "default": None}
        if UUID in kinds:
            parser.add_argument(flag, action="append", metavar="ID", **told)
        elif datetime in kinds:
            parser.add_argument(flag, type=moment, metavar="MOMENT", **told)
        elif any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
            parser.add_argument(flag, type=_json, metavar="JSON", **told)
        elif kinds & {int, float}:
            parser.add_argument(flag, type=_number, metavar="SEC" if name.endswith("_sec") else "N", **told)
        else:
            parser.add_argument(flag, metavar="NAME" if name.endswith("_name") else "KEY", **told)


def options_in(given: Mapping[str, Any], model: type[TaskOptions] = TaskOptions) -> dict[str, Any]:
    """Return the options among parsed arguments; moments that are distances are counted from now."""
    found = {name: given[name] for name in model.model_fields if name not in BESIDE and given[name] is not None}
    for name, value in found.items():
        if datetime in kinds_of(model.model_fields[name].annotation):
            found[name] = hence(value)
    if "depends_on" in found:
        found["depends_on"] = [find_task_id(text) for text in found["depends_on"]]
    return found


def _help(field: FieldInfo) -> str:
    least, most = bounds_of(field)
    within = f" ({least} to {most})" if least is not None and most is not None else ""
    return f"{field.description}{within}".replace("%", "%%")


def _number(text: str) -> int | float | str:
    """Read a number; what is none is left for the model to refuse by name."""
    for read in (int, float):
        try:
            if text.isascii() and "_" not in text:
                return read(text)
        except ValueError:
            continue
    return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"write JSON, not {text!r}: {error}") from None
