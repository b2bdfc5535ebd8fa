"""How the claims of a worker are divided among its queues."""

from __future__ import annotations

from collections.abc import Mapping


class Shares:
    """Hands out claims in proportion to weights, evenly spread: with 3 and 1, every fourth goes to the second."""

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = dict(weights)
        self._credit = dict.fromkeys(weights, 0)

    @property
    def even(self) -> bool:
        """Whether all queues weigh the same, so that urgency alone decides."""
        return len(set(self._weights.values())) == 1

    def split(self, slots: int) -> dict[str, int]:
        """Return how many of the next claims belong to each queue; what a queue has no task for, others may take."""
        shares = dict.fromkeys(self._weights, 0)
        whole = sum(self._weights.values())
        for _ in range(slots):
            for name, weight in self._weights.items():
                self._credit[name] += weight
            chosen = max(self._credit, key=self._credit.__getitem__)
            self._credit[chosen] -= whole
            shares[chosen] += 1
        return {name: share for name, share in shares.items() if share}
