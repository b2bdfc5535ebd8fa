"""Those that are measured side by side. Each spawns, claims and completes; how is their own affair."""

from __future__ import annotations

from typing import Any, Protocol


class Contender(Protocol):
    """What a measurement asks of a contender. A process makes one of its own and uses it from one thread."""

    def spawn_one(self) -> None:
        """Make one task durable."""

    def spawn_many(self, count: int) -> None:
        """Make `count` tasks durable in one call."""

    def claim(self, limit: int) -> list[Any]:
        """Claim up to `limit` tasks."""

    def complete(self, claims: list[Any]) -> None:
        """Complete all tasks that one claim returned."""
