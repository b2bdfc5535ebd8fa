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
OTHERS_AT_LEAST = {
    "churn_last_vs_first": 0.7,
    "worker_vs_procrastinate": 5.0,
    "worker_vs_celery": 1.0,
    "feed_flood_complete": 1.0,
}
OTHERS_AT_MOST = {"worker_pss_mb_ours": 120.0, "stage_overhead_cpu": 0.02}
RATIOS_AT_MOST = {"claim_full_vs_small": 1.5, "api_list_large_vs_small": 1.3}
LATENCIES_BELOW_MS = {
    "pickup_p50": 10.0,
    "pickup_p99": 50.0,
    "stats": 20.0,
    "feed_fanout_p50": 25.0,
    "feed_fanout_p99": 100.0,
    "api_detail_p99": 50.0,
    "api_list_p99": 120.0,
}


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Judge what was measured; a target whose figure is missing is left out."""
    for name, least in RATIOS_AT_LEAST.items():
        if (value := figures.ratios.get(name)) is not None:
            yield Verdict(name=name, wanted=f"≥ {least:g}", measured=f"{value:.2f}", met=value >= least)
    for name, most in RATIOS_AT_MOST.items():
        if (value := figures.ratios.get(name)) is not None:
            yield Verdict(name=name, wanted=f"≤ {most:g}", measured=f"{value:.2f}", met=value <= most)
    latencies_ms = figures.latencies_ms()
    for name, limit in LATENCIES_BELOW_MS.items():
        if (value := latencies_ms.get(name)) is not None:
            yield Verdict(name=name, wanted=f"< {limit:g} ms", measured=f"{value:.1f} ms", met=value < limit)
    for name, least in OTHERS_AT_LEAST.items():
        if (value := figures.others.get(name)) is not None:
            yield Verdict(name=name, wanted=f"≥ {least:g}", measured=f"{value:.2f}", met=value >= least)
    for name, most in OTHERS_AT_MOST.items():
        if (value := figures.others.get(name)) is not None:
            yield Verdict(name=name, wanted=f"≤ {most:g}", measured=f"{value:.3g}", met=value <= most)
