"""The feed's messages, read from the event table by a process of its own."""

from __future__ import annotations

import json
from uuid import UUID

from tasks_app.client.transport import Choice, Document
from tasks_app.engine.event_window import readable_limit
from tasks_app.feed.messages import Message, Selection, queue_stats_update, resync, selected
from tasks_app.feed.reader import read_after


def position_now() -> int:
    """Return the event up to which everything may be read."""
    return readable_limit()[0]


def read(position: int, choice: Choice) -> tuple[list[Document], int, bool]:
    """Return the messages after a position, the position behind them, and whether there are more at once."""
    batch = read_after(position)
    if batch.restarted:
        return [_document(resync(batch.position))], batch.position, False
    selection = Selection(
        queues=frozenset(choice.queues),
        task_ids=frozenset(map(UUID, choice.task_ids)),
        runs=frozenset(map(UUID, choice.runs)),
    )
    found, changed = selected(selection, batch.events)
    messages = [*(each.message for each in found), *map(queue_stats_update, changed)]
    return [_document(message) for message in messages if message is not None], batch.position, batch.more


def _document(message: Message) -> Document:
    found: Document = json.loads(message.text)
    return found
