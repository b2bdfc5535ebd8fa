"""Many rows changed in one statement, each to values of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection, models

from tasks_app import cleaning
from tasks_app.postgresql import statements

_TYPES = {"CharField": "text", "TextField": "text", "JSONField": "jsonb"}


def write(sql: str, model: type[models.Model], rows: Sequence[tuple[Any, Mapping[str, Any]]], **params: Any) -> None:
    """Run an UPDATE over the rows' keys, with CHANGES and GIVEN filled in; all rows must name the same columns.

    A value that all rows share is sent once, not as an array, so that most statements have few texts.
    """
    sets, names, arrays = [], ["key"], []
    for name in rows[0][1]:
        field: Any = model._meta.get_field(name)
        kind: str = _TYPES.get(field.get_internal_type()) or field.db_type(connection)
        values = [_stored(field, kind, changes[name]) for _, changes in rows]
        shared = all(value == values[0] for value in values)
        params[name] = values[0] if shared else values
        sets.append(f"{field.column} = %({name})s::{kind}" if shared else f"{field.column} = given.{name}")
        if not shared:
            names.append(name)
            arrays.append(f"%({name})s::{kind}[]")
    given = f"unnest({', '.join(['%(keys)s', *arrays])}) AS given({', '.join(names)})"
    statements.run(
        sql.replace("CHANGES", ", ".join(sets)).replace("GIVEN", given), {**params, "keys": [key for key, _ in rows]}
    )


def _stored(field: Any, kind: str, value: Any) -> Any:
    """Return the value as an array of such values may hold it."""
    if value is None:
        return None
    if kind == "jsonb":
        return cleaning.dumps(value)
    return (
        cleaning.text(value, cleaning.TRACEBACK_CHARS_MOST)
        if kind == "text"
        else field.get_db_prep_save(value, connection)
    )
