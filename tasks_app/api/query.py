"""Parameters of a query string: whole numbers, booleans, and none that would silently be ignored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.http import QueryDict

from tasks_app.api.errors import BadQuery
from tasks_app.operations.selection import BOOLEANS, unknown_parameters

DIGITS_MOST = 18


def whole(query: QueryDict, name: str, default: int | None) -> int | None:
    """Return a parameter that must be a whole number. Raises BadQuery."""
    text = query.get(name)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MOST):
        raise BadQuery([{"path": name, "message": f"must be a whole number (got {text[:100]!r})"}])
    return int(text)


def whole_schema(least: int, most: int = 10**DIGITS_MOST - 1) -> dict[str, Any]:
    """Return how the schema describes such a parameter."""
    return {"type": "integer", "minimum": least, "maximum": most}


def flag(query: QueryDict, name: str) -> bool:
    """Return a parameter that is true or false; absent it is false. Raises BadQuery."""
    text = query.get(name) or "false"
    if text.lower() not in BOOLEANS:
        raise BadQuery([{"path": name, "message": f"must be true or false (got {text[:100]!r})"}])
    return BOOLEANS[text.lower()]


def refuse(problems: Sequence[dict[str, str]]) -> None:
    """Raise BadQuery where there are problems."""
    if problems:
        raise BadQuery(problems)


def refuse_unknown(query: QueryDict, known: Iterable[str] = ()) -> None:
    """Raise BadQuery for a parameter that would silently be ignored."""
    refuse(unknown_parameters(query, known))
