"""Pages by key, newest first: as quick at the millionth row as at the first, and steady while rows are added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from rest_framework.request import Request

from tasks_app.api.errors import BadQuery

LIMIT_DEFAULT, LIMIT_MOST = 100, 500
DIGITS_MOST = 18
COUNT_MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which page is asked for."""

    limit: int
    cursor: int | None

    @classmethod
    def of(cls, query: QueryDict) -> Page:
        """Read `limit` and `cursor`. Raises BadQuery."""
        return cls(limit=limit_of(query), cursor=whole(query, "cursor", None))


def limit_of(query: QueryDict) -> int:
    """Return how many rows a page may have. Raises BadQuery."""
    limit = whole(query, "limit", LIMIT_DEFAULT)
    if limit is None or not 1 <= limit <= LIMIT_MOST:
        raise BadQuery([{"path": "limit", "message": f"write 1 to {LIMIT_MOST}"}])
    return limit


def whole(query: QueryDict, name: str, default: int | None) -> int | None:
    """Return a parameter that must be a whole number. Raises BadQuery."""
    text = query.get(name)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MOST):
        raise BadQuery([{"path": name, "message": "write a whole number"}])
    return int(text)


def whole_schema(least: int, most: int = 10**DIGITS_MOST - 1) -> dict[str, Any]:
    """Return how the schema describes such a parameter."""
    return {"type": "integer", "minimum": least, "maximum": most}


def flag(query: QueryDict, name: str) -> bool:
    """Return a parameter that is true or false; absent it is false. Raises BadQuery."""
    text = query.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise BadQuery([{"path": name, "message": "write true or false"}])
    return text in ("true", "1")


def refuse_unknown(query: QueryDict, known: set[str]) -> None:
    """Raise BadQuery for a parameter that would silently be ignored."""
    unknown = sorted(set(query) - known)
    if unknown:
        listed = ", ".join(sorted(known))
        raise BadQuery([{"path": name, "message": f"unknown parameter; known are {listed}"} for name in unknown])


def paged(rows: Any, request: Request, *, oldest_first: bool = False) -> tuple[list[Any], str | None]:
    """Return the page of a query set that the request asks for, and the address of the next one. Raises BadQuery."""
    page = Page.of(request.query_params)
    if page.cursor is not None:
        rows = rows.filter(pk__gt=page.cursor) if oldest_first else rows.filter(pk__lt=page.cursor)
    found = list(rows.order_by("pk" if oldest_first else "-pk")[: page.limit + 1])
    more, found = len(found) > page.limit, found[: page.limit]
    return found, next_address(request.path, request.query_params, found[-1].pk) if more else None


def next_address(path: str, query: QueryDict, last: object) -> str:
    """Return path and query of the page after the row `last`."""
    following = query.copy()
    following["cursor"] = str(last)
    return f"{path}?{following.urlencode()}"


def capped_count(rows: Any) -> tuple[int, bool]:
    """Return how many rows there are, up to COUNT_MOST, and whether that is all of them."""
    count = rows.order_by()[: COUNT_MOST + 1].values("pk").count()
    return min(count, COUNT_MOST), count <= COUNT_MOST
