"""What was measured: several rounds of each figure, their median, and the ratios that targets are set for."""

from __future__ import annotations

import contextlib
import math
import operator
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


@dataclass(frozen=True, kw_only=True)
class PageCost:
    """What one page of the console took: times of a whole request by HTTP, and the queries that it asks."""

    name: str
    address: str
    p50_ms: float
    p95_ms: float
    queries: int


class Figures:
    """Collects the rounds of every measurement, and notes on them."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = defaultdict(list)
        self.ratios: dict[str, float] = {}
        self.others: dict[str, float] = {}
        self.distributions: dict[str, list[float]] = {}
        self.notes: list[str] = []
        self.pages: list[PageCost] = []
        self.scale: list[Any] = []
        """Of tests.benchmark.scale."""

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
            **({"console": [asdict(page) for page in self.pages]} if self.pages else {}),
            **({"scale": [asdict(cost) for cost in self.scale]} if self.scale else {}),
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


PEERS = ("procrastinate", "celery", "django_tasks_db", "absurd_sdk")
"""Other queues that may be measured beside ours, by module of tests.benchmark.peers."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The extent of each measurement."""

    rounds: int = 3
    spawn_one_sec: float = 2.0
    spawn_many: int = 10_000
    spawn_many_calls: int = 2
    drain_sec: float = 2.0
    drain_pending: int = 40_000
    profile_sec: float = 3.0
    pickups: int = 250
    feed_events: int = 300
    fanout_clients: int = 100
    fanout_events: int = 600
    flood_clients: int = 200
    flood_events: int = 2_000
    finished: int = 1_000_000
    pending: int = 100_000
    claims: int = 2_000
    stats_calls: int = 5
    page_loads: int = 20
    churn_sec: int = 60
    worker_tasks: int = 20_000
    worker_sec: float = 8.0
    peer_share: float = 1.0
    peer_pickups: int = 100
    stage_runs: int = 5
    api_load_sec: float = 30.0


FULL = Sizes()
QUICK = Sizes(
    spawn_one_sec=0.5,
    spawn_many=1_000,
    spawn_many_calls=4,
    drain_sec=0.5,
    drain_pending=10_000,
    profile_sec=1.0,
    pickups=50,
    feed_events=50,
    fanout_events=100,
    flood_clients=50,
    flood_events=500,
    finished=50_000,
    pending=5_000,
    claims=400,
    stats_calls=2,
    page_loads=5,
    churn_sec=6,
    worker_tasks=4_000,
    worker_sec=4.0,
    peer_share=0.3,
    peer_pickups=20,
    stage_runs=2,
    api_load_sec=3.0,
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target beside what was measured."""

    name: str
    wanted: str
    measured: str
    met: bool


TARGETS = {
    "spawn_many_vs_raw": "≥ 0.5",
    "claim_complete_b10_vs_raw": "≥ 0.6",
    "claim_complete_b10_vs_procrastinate": "≥ 5",
    "claim_full_vs_small": "≤ 1.5",
    "api_list_large_vs_small": "≤ 1.3",
    "pickup_p50": "< 10 ms",
    "pickup_p99": "< 50 ms",
    "stats": "< 20 ms",
    "feed_fanout_p50": "< 25 ms",
    "feed_fanout_p99": "< 100 ms",
    "api_detail_p99": "< 50 ms",
    "api_list_p99": "< 120 ms",
    "churn_last_vs_first": "≥ 0.7",
    "worker_vs_procrastinate": "≥ 5",
    "worker_vs_celery": "≥ 1",
    "feed_flood_complete": "≥ 1",
    "worker_pss_mb_ours": "≤ 120",
    "stage_overhead_cpu": "≤ 0.02",
}
COMPARE: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Compare what was measured with the targets; one whose value is missing is left out."""
    values = figures.ratios | figures.latencies_ms() | figures.others
    for name, wanted in TARGETS.items():
        if (value := values.get(name)) is not None:
            sign, limit, *unit = wanted.split()
            measured = " ".join([f"{value:.1f}" if unit else f"{value:.3g}", *unit])
            yield Verdict(name=name, wanted=wanted, measured=measured, met=COMPARE[sign](value, float(limit)))


# Often enough to be seen moving; each drawing takes time from what is measured.
DRAWN_A_SECOND = 2


Step = Callable[[], None]


class Progress:
    """Shows the parts of the benchmark one after another."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextlib.contextmanager
    def part(self, name: str, steps: int) -> Iterator[Step]:
        """Show a part while it lasts; call what is yielded after each of its steps."""
        if not self.console.is_terminal:
            began = time.monotonic()
            yield lambda: None
            self.console.print(f"{name}: {time.monotonic() - began:.0f} s", highlight=False)
            return
        columns = (
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=self.console, refresh_per_second=DRAWN_A_SECOND) as bars:
            task = bars.add_task(name, total=steps)
            yield lambda: bars.advance(task)
