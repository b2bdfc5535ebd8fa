"""What the two ways to the queue have in common. All answers are in the API's shapes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some tasks of a list, and where it goes on."""

    tasks: list[Document]
    cursor: str | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which messages of the feed are wanted; an empty choice is all."""

    queues: Sequence[str] = ()
    task_ids: Sequence[str] = ()
    runs: Sequence[str] = ()


class Transport(Protocol):
    """A way to the queue. Each call is made once; errors are those of `faults` and `tasks_app.errors`."""

    async def open(self) -> None:
        """Get ready, and see whether there is anybody."""

    async def close(self) -> None:
        """Let go of everything."""

    async def health(self, queue: str | None) -> Document:
        """Return the health of a queue."""

    async def queue_names(self) -> list[str]:
        """Return the names of all queues."""

    async def queue_stats(self, queue: str) -> Document:
        """Return the counts of a queue."""

    async def spawn(self, body: Document, key: str) -> Document:
        """Spawn a task."""

    async def spawn_many(self, wanted: Sequence[tuple[Document, str]]) -> list[Document]:
        """Spawn several."""

    async def task(self, task_id: str) -> Document:
        """Return a task in full."""

    async def cancel(self, task_id: str, reason: str) -> Document:
        """Cancel a task."""

    async def retry(self, task_id: str, reason: str) -> Document:
        """Retry a task."""

    async def reprioritize(self, task_id: str, priority: int, reason: str) -> Document:
        """Give a task another priority."""

    async def page(self, filters: Mapping[str, Any], cursor: str | None, limit: int) -> Page:
        """Return a page of tasks, newest first."""

    def messages(self, choice: Choice, since: int | None) -> AsyncGenerator[Document, None]:
        """Yield messages of the feed, `hello` at every connection included, for ever."""
