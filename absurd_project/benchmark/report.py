"""The figures for people: rates side by side with their ratios, where the time goes, targets met and missed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from django.db import connection
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from absurd_project.benchmark.measures import PEERS, Figures, percentile, verdicts
from absurd_project.benchmark.queue import BATCHES, PROCESSES, drain_name
from absurd_project.benchmark.real_workers import CONCURRENCY, rate_name
from absurd_project.benchmark.stage import WARM, Cost


def print_conditions(console: Console) -> None:
    """Print what the figures depend on."""
    settings = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in settings))
        version, *values = cursor.fetchone()
    told = ", ".join(f"{name} {value}" for name, value in zip(settings[1:], values, strict=True))
    load = os.getloadavg()[0]
    console.print(f"PostgreSQL {version}, {told}; {os.cpu_count()} processors, load {load:.1f}", highlight=False)


def print_throughput(figures: Figures, console: Console) -> None:
    """Print ours beside raw and bare."""
    table = Table(
        "tasks/s", "ours", "same rows raw", "one bare table", "ours / raw", box=box.SIMPLE, title="Throughput"
    )
    rows = [("spawn, one a call", "spawn_one_{}"), ("spawn, many a call", "spawn_many_{}")]
    rows += [
        (f"claim and complete, batch {batch}, {processes} process{'es' if processes > 1 else ''}",
         drain_name(batch, processes, "{}"))
        for batch in BATCHES
        for processes in PROCESSES
    ]  # fmt: skip
    for label, name in rows:
        cells = [_number(figures.rate(name.format(who))) for who in ("ours", "raw", "bare")]
        ratio = figures.ratio(name.format("ours"), name.format("raw"))
        table.add_row(label, *cells, "" if ratio is None else f"{ratio:.2f}")
    console.print(table)


def print_profile(name: str, answer: dict[str, Any], console: Console) -> None:
    """Print where the time of a call goes."""
    calls = max(1, -(-answer["count"] // answer["tasks_a_call"]))
    total_sec = answer["ended"] - answer["began"]
    table = Table(
        "statement", "a call", "ms a call", "share", box=box.SIMPLE, title=f"Where the time goes: {name}, one process"
    )  # fmt: skip
    known_sec = 0.0
    for row in answer["statements"]:
        known_sec += row["seconds"]
        table.add_row(row["sql"], f"{row['calls'] / calls:.1f}", *_cost(row["seconds"], calls, total_sec))
    table.add_row("Python, and waiting for a turn", "", *_cost(total_sec - known_sec, calls, total_sec))
    console.print(table, highlight=False)


def print_workers(figures: Figures, console: Console) -> None:
    """Print what real workers do, ours and the peers'."""
    table = Table(
        "tasks/s", "spawn one", "spawn many", *(f"{n} worker{'s' if n > 1 else ''}" for n in PROCESSES), "MB a worker",
        box=box.SIMPLE, title=f"Real workers at concurrency {CONCURRENCY}, tasks that do nothing",
    )  # fmt: skip
    for who in ("ours", *PEERS):
        rates = [figures.rate(rate_name(who, processes)) for processes in PROCESSES]
        if any(rates):
            spawned = [figures.rate(f"spawn_{how}_{who}") for how in ("one", "many")]
            memory = _number(figures.others.get(f"worker_pss_mb_{who}"))
            table.add_row(who, *map(_number, [*spawned, *rates]), memory)
    console.print(table)


def print_stage(costs: Mapping[str, Cost], console: Console) -> None:
    """Print what a CASA stage takes by itself and in the hands of a worker."""
    table = Table(
        "seconds", "wall, median", "wall, least and most", "stage's processor", "worker's", "guardians' and spares'",
        "overhead", box=box.SIMPLE, title="A CASA stage (conversion of a small tile)",
    )  # fmt: skip
    for name, cost in costs.items():
        overhead = (cost.worker_cpu_sec + cost.guardians_cpu_sec) / cost.stage_cpu_sec
        table.add_row(
            name,
            f"{cost.wall_sec:.2f}",
            f"{min(cost.walls_sec):.2f} – {max(cost.walls_sec):.2f}",
            *(f"{each:.2f}" for each in (cost.stage_cpu_sec, cost.worker_cpu_sec, cost.guardians_cpu_sec)),
            f"{overhead:.1%}" if name != WARM else "",  # spares were imported that nobody used
        )
    console.print(table)


def print_latencies(figures: Figures, console: Console) -> None:
    """Print percentiles of everything that was timed one by one."""
    table = Table("ms", "p50", "p95", "p99", "samples", box=box.SIMPLE, title="Latencies")
    for name, values in figures.distributions.items():
        cells = [f"{percentile(values, percent):.2f}" for percent in (50, 95, 99)]
        table.add_row(name, *cells, str(len(values)))
    console.print(table)


def print_targets(figures: Figures, console: Console) -> None:
    """Print which targets are met, and by how much the others are missed."""
    table = Table("target", "wanted", "measured", "", box=box.SIMPLE, title="Targets")
    for verdict in verdicts(figures):
        mark = Text("✓", "green") if verdict.met else Text("✗ missed", "red")
        table.add_row(verdict.name, verdict.wanted, verdict.measured, mark)
    console.print(table)
    for note in figures.notes:
        console.print(Text("note", "yellow"), note, soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _cost(seconds: float, calls: int, total_sec: float) -> tuple[str, str]:
    return f"{1000 * seconds / calls:.2f}", f"{seconds / total_sec:.0%}"
