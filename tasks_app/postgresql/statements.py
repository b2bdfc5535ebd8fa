"""The queue's hot statements, run as prepared statements of the server.

Django interpolates parameters in the client, which makes the server parse and plan each statement again. What is run
hundreds of times a second goes round that, on Django's own connection and so in its transaction.

The statements stand in files that psql runs as well: `:name` is a variable of psql, and here a parameter or, where the
planner must know its value, a literal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from psycopg import sql
from psycopg.types.datetime import TimestamptzLoader

if TYPE_CHECKING:
    from tasks_app.postgresql.base import DatabaseWrapper

Literal = int | tuple[str, ...] | tuple[tuple[str, str], ...]
_TOKENS = re.compile(r"(?P<comment>--[^\n]*)|'(?:[^']|'')*'|::|:(?P<name>[a-z_]+)")


@cache
def load(path: Path, **literals: Literal) -> str:
    """Return the statement of a file without its comments; variables that `literals` does not name are parameters.

    A number stands in the statement as it is, names as columns, names with types as definitions of columns.
    """
    text, position = path.read_text(), 0
    parts: list[sql.Composable] = []
    for found in _TOKENS.finditer(text):
        name = found["name"]
        if name is None and found["comment"] is None:
            continue
        parts.append(sql.SQL(text[position : found.start()]))
        if name is not None:
            parts.append(_composed(literals[name]) if name in literals else sql.Placeholder(name))
        position = found.end()
    return sql.Composed([*parts, sql.SQL(text[position:])]).as_string()


def _composed(literal: Literal) -> sql.Composable:
    if isinstance(literal, int):
        return sql.Literal(literal)
    columns = [
        sql.Identifier(each) if isinstance(each, str) else sql.SQL("{} " + each[1]).format(sql.Identifier(each[0]))
        for each in literal
    ]
    return sql.SQL(", ").join(columns)


def run(statement: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute the statement and return its rows; jsonb columns come as text, as Django has them."""
    wrapper = cast("DatabaseWrapper", connections[DEFAULT_DB_ALIAS])
    wrapper.ensure_connection()
    # Anything but None lets statements be prepared; what Django itself sends never is.
    wrapper.connection.prepare_threshold = 1_000_000
    with within_limits(wrapper), wrapper.wrap_database_errors, psycopg.Cursor(wrapper.connection) as cursor:
        # Django's loader for moments is written in Python, and a hundred of them take as long as the statement.
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        # A pooler that gives each transaction another connection knows no prepared statements of ours.
        cursor.execute(statement, params, prepare=not settings.ABSURD_POLL_ONLY)
        return [] if cursor.pgresult is None or cursor.pgresult.nfields == 0 else cursor.fetchall()


def within_limits(wrapper: DatabaseWrapper) -> AbstractContextManager[Any]:
    """Give a statement outside a transaction one of its own, where statements have a limit."""
    if wrapper.limits.get("statement_timeout") and wrapper.get_autocommit() and not wrapper.in_atomic_block:
        return transaction.atomic(using=wrapper.alias)
    return nullcontext()
