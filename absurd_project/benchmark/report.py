"""The results for people: rates with their ratios, where the time goes, targets met and missed, stages and accuracy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from django.db import connection
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from absurd_project.benchmark import hour, pipeline, stage
from absurd_project.benchmark.measures import PEERS, Figures, percentile, verdicts
from absurd_project.benchmark.pipeline import TILE_SEC
from absurd_project.benchmark.queue import BATCHES, PROCESSES, drain_name
from absurd_project.benchmark.workers import CONCURRENCY, WORKERS, rate_name


def print_conditions(console: Console) -> None:
    """Print what the figures depend on."""
    settings = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in settings))
        version, *values = cursor.fetchone()
    values_line = ", ".join(f"{name} {value}" for name, value in zip(settings[1:], values, strict=True))
    load = os.getloadavg()[0]
    console.print(f"PostgreSQL {version}, {values_line}; {os.cpu_count()} processors, load {load:.1f}", highlight=False)


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
        "tasks/s", "spawn one", "spawn many", *(f"{n} worker{'s' if n > 1 else ''}" for n in WORKERS), "MB a worker",
        box=box.SIMPLE, title=f"Real workers at concurrency {CONCURRENCY}, tasks that do nothing",
    )  # fmt: skip
    for who in ("ours", *PEERS):
        rates = [figures.rate(rate_name(who, count)) for count in WORKERS]
        if any(rates):
            spawned = [figures.rate(f"spawn_{how}_{who}") for how in ("one", "many")]
            memory = _number(figures.others.get(f"worker_pss_mb_{who}"))
            table.add_row(who, *map(_number, [*spawned, *rates]), memory)
    console.print(table)


def print_stage(costs: Mapping[str, stage.Cost], console: Console) -> None:
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
            f"{overhead:.1%}" if name != stage.WARM else "",  # spares were imported and not used
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


def print_pipeline(report: pipeline.PipelineReport, console: Console) -> None:
    """Print a table of stages, plain calls, ratios and accuracy."""
    table = Table("tile", "stage", "wall, s", "CPU, s", "memory, GB", "silent, s", "verdict", box=box.SIMPLE)
    table.title = f"One tile of each kind alone, size {report.size}"
    for cost in report.costs:
        table.add_row(*_row(cost), f"{cost.longest_silence_sec:.1f}", cost.verdict)
    for tile in ("calibrator", "target"):
        table.add_row(tile, "all stages and imports", f"{report.total_sec(tile):.1f}", "", "", "", "")
    for cost in report.bare:
        table.add_row(*_row(cost), "", "plain call")
    console.print(table)
    of_cpu = report.ratios(of_cpu=True)
    for name, ratio in report.ratios().items():
        console.print(f"{name}: {ratio:.2f} of wall, {of_cpu[name]:.2f} of CPU time", highlight=False)
    for name, value in report.accuracy.items():
        console.print(f"{name}: {_decimals(value)}", highlight=False)
    share = report.total_sec("target") / TILE_SEC
    console.print(f"the target's tile takes {share:.0%} of the {TILE_SEC:.0f} s that the sky takes", highlight=False)
    for note in report.notes:
        console.print(note, highlight=False)


def _decimals(value: float | None) -> str:
    if value is None or isinstance(value, int):
        return "none" if value is None else str(value)
    return f"{value:.4f}"


def _row(cost: pipeline.Cost) -> tuple[str, str, str, str, str]:
    memory = f"{cost.peak_rss_bytes / 1e9:.2f}"
    return cost.tile, cost.stage, f"{cost.wall_sec:.1f}", f"{cost.cpu_sec:.1f}", memory


def print_hour(result: hour.HourResult, console: Console) -> None:
    """Print a table of stages, the real-time factor, accuracy and what was left over."""
    table = Table("tile", "stage", "n", "wall, s (median)", "longest", "CPU, s", "memory, GB", box=box.SIMPLE)
    table.title = f"{result.n_tiles} tiles through ingest, queue and workers"
    for each in result.stages:
        table.add_row(
            each.tile, each.stage, str(each.n), f"{each.wall_sec_median:.1f}", f"{each.wall_sec_max:.1f}",
            "" if each.cpu_sec_median is None else f"{each.cpu_sec_median:.1f}",
            "" if each.peak_rss_bytes_max is None else f"{each.peak_rss_bytes_max / 1e9:.2f}",
        )  # fmt: skip
    console.print(table)
    lines = [
        f"{result.n_tiles} tiles in {result.wall_sec:.0f} s: {result.sec_per_tile:.1f} s a tile, "
        f"{result.real_time_factor:.2f} times real time",
        f"simulated beforehand in {result.simulate_sec:.0f} s; {result.n_batches} of at most 2 deliveries",
        f"{result.n_tasks} tasks, {result.n_failed_tasks} not completed; verdicts of the targets' fluxes: "
        + ", ".join(f"{count} {verdict}" for verdict, count in sorted(result.verdicts.items())),
        "median flux ratio by target: " + ", ".join(f"{ratio:.4f}" for ratio in result.flux_ratio_medians),
        f"left over: {len(result.left_attempts)} attempt directories, {len(result.left_products)} products without "
        f"a record, {len(result.left_processes)} processes",
        *result.left_attempts, *result.left_products, *result.left_processes,
    ]  # fmt: skip
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
