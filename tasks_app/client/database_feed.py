"""The feed's messages, read from the event table by a process of its own."""

from __future__ import annotations

import json
from uuid import UUID

from tasks_app.client.transport import Choice, Document
from tasks_app.event_window import readable_limit
from tasks_app.feed import read_after
from tasks_app.feed_messages import Wanted, messages_for


def position_now() -> int:
    """Return the event up to which everything may be read."""
    return readable_limit()[0]


def read(position: int, choice: Choice) -> tuple[list[Document], int, bool]:
    """Return the messages after a position, the position behind them, and whether there are more at once."""
    batch = read_after(position)
    if batch.restarted:
        return [{"type": "resync", "event_id": batch.position}], batch.position, False
    wanted = Wanted(
        queues=frozenset(choice.queues),
        task_ids=frozenset(map(UUID, choice.task_ids)),
        runs=frozenset(map(UUID, choice.runs)),
    )
    return [json.loads(text) for text in messages_for(wanted, batch.events)], batch.position, batch.more
