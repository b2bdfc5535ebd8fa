"""A minute, or ten, of everything at once: spawning, claiming, completing, sweeping, pruning. Does it slow down?"""

from __future__ import annotations

import statistics

from absurd_project.benchmark import tables
from absurd_project.benchmark.measures import Figures, Progress
from absurd_project.benchmark.processes import ClientPool

WINDOW_SEC = 10


def measure(clients: ClientPool, duration_sec: int, figures: Figures, progress: Progress) -> None:
    """Compare the first seconds with the last."""
    tables.fill(0)
    window = min(WINDOW_SEC, duration_sec // 2)
    orders = (
        {"do": "produce", "duration_sec": duration_sec},
        {"do": "prune", "duration_sec": duration_sec},
        {"do": "drain", "batch": 10, "duration_sec": duration_sec, "patient": True},
        {"do": "drain", "batch": 10, "duration_sec": duration_sec, "patient": True},
    )
    with progress.part(f"churn for {duration_sec} s", 1) as step:
        answers = clients.order_each([{**order, "contender": "ours"} for order in orders])
        step()
    by_second = [sum(both) for both in zip(*(a["by_second"] for a in answers if "by_second" in a), strict=True)]
    first, last = statistics.mean(by_second[:window]), statistics.mean(by_second[-window:])
    figures.add_rate("churn_first", first)
    figures.add_rate("churn_last", last)
    figures.others["churn_last_vs_first"] = last / first
    pruned = next(a["pruned"] for a in answers if "pruned" in a)
    figures.notes.append(f"churn: {sum(by_second):,} tasks completed and {pruned:,} pruned in {duration_sec} s")
