"""What the address of the feed asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from uuid import UUID

from tasks_app.feed.messages import KINDS, Wanted

NAMES = ("since", "queue", "task_id", "run", "types", "log", "ticket")
LOGS_MOST = 5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """From which event on, what of, whose logs, and with which ticket."""

    since: int | None = None
    wanted: Wanted = field(default_factory=Wanted)
    logs: frozenset[UUID] = frozenset()
    ticket: str = ""


def read_query(query_string: bytes) -> Asked:
    """Return what the address asks for. Raises ValueError with the parameter's name, and never with its value."""
    query = parse_qs(query_string.decode("latin1"), keep_blank_values=True)
    unknown = set(query) - set(NAMES)
    if unknown:
        raise ValueError(f"the feed knows no such parameter; it knows {', '.join(NAMES)}")
    logs = _uuids("log", query.get("log", ()))
    if len(logs) > LOGS_MOST:
        raise ValueError(f"log may name at most {LOGS_MOST} tasks")
    return Asked(
        since=since_of(query["since"][-1]) if "since" in query else None,
        wanted=Wanted(
            queues=frozenset(query.get("queue", ())),
            task_ids=_uuids("task_id", query.get("task_id", ())),
            runs=_uuids("run", query.get("run", ())),
            kinds=_kinds(query.get("types", ())),
        ),
        logs=logs,
        ticket=query.get("ticket", [""])[-1],
    )


def since_of(text: str) -> int:
    """Return the number of an event. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError("since is not a whole number")
    return int(text)


def _kinds(texts: Iterable[str]) -> frozenset[str]:
    kinds = frozenset(kind for text in texts for kind in text.split(","))
    if not kinds <= KINDS:
        raise ValueError(f"types is not a list of {', '.join(sorted(KINDS))}")
    return kinds


def _uuids(name: str, texts: Iterable[str]) -> frozenset[UUID]:
    try:
        return frozenset(UUID(text) for text in texts)
    except ValueError:
        raise ValueError(f"{name} is not an id") from None
