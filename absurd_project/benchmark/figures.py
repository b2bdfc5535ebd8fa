"""What was measured: several rounds of each figure, their median, and the ratios that targets are set for."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any


class Figures:
    """Collects the rounds of every figure and what has to be said about them."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = defaultdict(list)
        self.ratios: dict[str, float] = {}
        self.others: dict[str, float] = {}
        self.distributions: dict[str, list[float]] = {}
        self.notes: list[str] = []

    def add_rate(self, name: str, per_sec: float) -> None:
        """Add one round of a rate."""
        self._rates[name].append(per_sec)

    def add_distribution(self, name: str, values_ms: list[float]) -> None:
        """Keep all that was measured of a time, in ms."""
        self.distributions.setdefault(name, []).extend(values_ms)

    def add_memory(self, contender: str, megabytes: float) -> None:
        """Note the memory of a worker; the most that was seen counts."""
        name = f"worker_pss_mb_{contender}"
        self.others[name] = max(megabytes, self.others.get(name, 0.0))

    def rate(self, name: str) -> float | None:
        """Return the median of a rate's rounds, None where it was not measured."""
        return statistics.median(self._rates[name]) if self._rates.get(name) else None

    def ratio(self, name: str, other: str) -> float | None:
        """Return how one rate compares with another of the same run."""
        ours, theirs = self.rate(name), self.rate(other)
        return ours / theirs if ours is not None and theirs else None

    def lower_ratio(self, pairs: Sequence[tuple[str, str]]) -> float | None:
        """Return the least favourable of several ratios."""
        found = [ratio for ratio in (self.ratio(*pair) for pair in pairs) if ratio is not None]
        return min(found) if found else None

    def report(self) -> dict[str, Any]:
        """Return the figures as `--json` writes them."""
        return {
            "rates": {name: round(statistics.median(rounds), 1) for name, rounds in self._rates.items()},
            "ratios": {name: round(value, 3) for name, value in self.ratios.items()},
            "latency_ms": {name: round(value, 3) for name, value in self.latencies_ms().items()},
        }

    def latencies_ms(self) -> dict[str, float]:
        """Return the latencies that are reported, where they were measured."""
        wanted = {
            f"{name}_p{percent}": (name, percent) for name in ("pickup", "feed", "feed_fanout") for percent in (50, 99)
        }
        wanted["stats"] = ("stats", 50)
        for what in ("detail", "list"):
            wanted[f"api_{what}_p99"] = (f"api_{what}_large", 99)
        return {
            key: percentile(self.distributions[name], percent)
            for key, (name, percent) in wanted.items()
            if self.distributions.get(name)
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
