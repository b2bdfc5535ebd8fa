"""How ours compares with the peers of the same run: the less favourable of one process and of several counts."""

from __future__ import annotations

from absurd_project.benchmark import queue, workers
from absurd_project.benchmark.measures import Figures


def compare(figures: Figures) -> None:
    """Add the ratios to peers that were measured."""
    claims = figures.lower_ratio(
        [
            (queue.drain_name(10, processes, "ours"), workers.rate_name("procrastinate", processes))
            for processes in queue.PROCESSES
        ]
    )
    if claims is not None:
        figures.ratios["claim_complete_b10_vs_procrastinate"] = claims
    for peer in ("procrastinate", "celery"):
        ratio = figures.lower_ratio(
            [
                (workers.rate_name("ours", processes), workers.rate_name(peer, processes))
                for processes in workers.WORKERS
            ]
        )
        if ratio is not None:
            figures.others[f"worker_vs_{peer}"] = ratio
