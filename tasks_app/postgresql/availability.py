"""For how long a process has seen the database answer without a break: only that makes a lease's end believable."""

from __future__ import annotations

import time
from datetime import datetime


class Watch:
    """Looks at the database every now and then; a server that hung between two looks has kept everybody from renewing.

    Workers renew a lease in each third of it, so a hang of more than half a lease may have cost it. Such a lease is not
    believed expired before its worker, too, has had a whole lease to say that it is alive.
    """

    def __init__(self) -> None:
        self._since = self._looked = time.monotonic()
        self._gaps: list[tuple[float, float]] = []
        self.seen_at: datetime | None = None

    def note(self, seen_at: datetime) -> None:
        """Note that the database has just answered, at this moment of its clock; how long ago it last did is kept."""
        self.seen_at = seen_at
        now = time.monotonic()
        self._gaps = [(ended, gap) for ended, gap in self._gaps if now - ended < 2 * gap]
        self._gaps.append((now, now - self._looked))
        self._looked = now

    @property
    def watched_sec(self) -> float:
        """Since when the database has answered; leases that are longer are not believed expired."""
        return self._looked - self._since

    @property
    def doubted_sec(self) -> float:
        """Leases that are shorter than this are not believed expired, because the database may have hung."""
        return 2 * max((gap for _, gap in self._gaps), default=0.0)
