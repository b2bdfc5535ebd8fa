"""Spawning, claiming and completing: ours, the same rows raw, and one bare table, in turn."""

from __future__ import annotations

from typing import Any

from absurd_project.benchmark import tables
from absurd_project.benchmark.measures import Figures, Progress, Sizes
from absurd_project.benchmark.processes import ClientPool, rate

CONTENDERS = ("ours", "raw", "bare")
BATCHES = (1, 10, 100)
PROCESSES = (1, 4)


def drain_name(batch: int, processes: int, contender: str) -> str:
    """Return how the rate of claiming and completing is called."""
    return f"claim_complete_b{batch}_p{processes}_{contender}"


def measure_spawning(clients: ClientPool, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure one task a call and many a call."""
    with progress.part("spawn", sizes.rounds * len(CONTENDERS) * 2) as step:
        for _ in range(sizes.rounds):
            for contender in CONTENDERS:
                tables.fill(0)
                one = clients.order(do="spawn_one", contender=contender, duration_sec=sizes.spawn_one_sec)
                figures.add_rate(f"spawn_one_{contender}", rate(one))
                step()
                many = clients.order(
                    do="spawn_many", contender=contender, size=sizes.spawn_many, calls=sizes.spawn_many_calls
                )
                figures.add_rate(f"spawn_many_{contender}", rate(many))
                step()
    ratio = figures.ratio("spawn_many_ours", "spawn_many_raw")
    if ratio is not None:
        figures.ratios["spawn_many_vs_raw"] = ratio


def measure_draining(clients: ClientPool, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure claim and completion at several batch sizes, with one process and with several."""
    cases = [(batch, processes, who) for batch in BATCHES for processes in PROCESSES for who in CONTENDERS]
    with progress.part("claim and complete", sizes.rounds * len(cases)) as step:
        tables.fill(sizes.drain_pending)
        for _ in range(sizes.rounds):
            for batch, processes, who in cases:
                tables.top_up(sizes.drain_pending)
                answers = clients.order(processes, do="drain", contender=who, batch=batch, duration_sec=sizes.drain_sec)
                figures.add_rate(drain_name(batch, processes, who), rate(answers))
                step()
    pairs = [(drain_name(10, processes, "ours"), drain_name(10, processes, "raw")) for processes in PROCESSES]
    ratio = figures.lower_ratio(pairs)
    if ratio is not None:
        figures.ratios["claim_complete_b10_vs_raw"] = ratio


def profile_calls(clients: ClientPool, sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Return where the time goes: of one spawn, of one spawn of many, of claim and completion at batch 10."""
    found = {}
    for who in ("ours", "raw"):
        orders: dict[str, tuple[int, dict[str, Any]]] = {
            "spawn one": (1, {"what": "spawn_one", "duration_sec": sizes.profile_sec}),
            f"spawn {sizes.spawn_many:,}": (
                sizes.spawn_many,
                {"what": "spawn_many", "size": sizes.spawn_many, "calls": sizes.spawn_many_calls},
            ),
            "claim and complete, batch 10": (10, {"what": "drain", "batch": 10, "duration_sec": sizes.profile_sec}),
        }
        for name, (tasks_a_call, order) in orders.items():
            tables.fill(sizes.drain_pending if order["what"] == "drain" else 0)
            (answer,) = clients.order(do="profile", contender=who, **order)
            found[f"{name}, {who}"] = {**answer, "tasks_a_call": tasks_a_call}
    return found
