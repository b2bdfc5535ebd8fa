"""What the figures are wanted to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from absurd_project.benchmark.figures import Figures


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target beside what was measured."""

    name: str
    wanted: str
    measured: str
    met: bool


RATIOS_AT_LEAST = {
    "spawn_many_vs_raw": 0.5,
    "claim_complete_b10_vs_raw": 0.6,
    "claim_complete_b10_vs_procrastinate": 5.0,
}
RATIOS_AT_MOST = {"claim_full_vs_small": 1.5}
LATENCIES_BELOW_MS = {"pickup_p50": 10.0, "pickup_p99": 50.0, "stats": 20.0}


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Judge what was measured; a target whose figure is missing is left out."""
    for name, least in RATIOS_AT_LEAST.items():
        if (value := figures.ratios.get(name)) is not None:
            yield Verdict(name=name, wanted=f"≥ {least:g}", measured=f"{value:.2f}", met=value >= least)
    for name, most in RATIOS_AT_MOST.items():
        if (value := figures.ratios.get(name)) is not None:
            yield Verdict(name=name, wanted=f"≤ {most:g}", measured=f"{value:.2f}", met=value <= most)
    for name, limit in LATENCIES_BELOW_MS.items():
        if (value := figures.latency_ms.get(name)) is not None:
            yield Verdict(name=name, wanted=f"< {limit:g} ms", measured=f"{value:.1f} ms", met=value < limit)
