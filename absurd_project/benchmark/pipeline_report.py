"""The figures of the pipeline for people."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from absurd_project.benchmark.hour import HourResult
from absurd_project.benchmark.pipeline import TILE_SEC, Cost, PipelineReport
from absurd_project.benchmark.pipeline_defects import DefectReport


def print_report(report: PipelineReport, console: Console) -> None:
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
        console.print(f"{name}: {_figure(value)}", highlight=False)
    share = report.total_sec("target") / TILE_SEC
    console.print(f"the target's tile takes {share:.0%} of the {TILE_SEC:.0f} s that the sky takes", highlight=False)
    for note in report.notes:
        console.print(note, highlight=False)


def _figure(value: float | None) -> str:
    if value is None or isinstance(value, int):
        return "none" if value is None else str(value)
    return f"{value:.4f}"


def print_defects(report: DefectReport, console: Console) -> None:
    """Print a table of figures, a column a set of defects, and what was not noticed."""
    table = Table("", *(result.name for result in report.results), box=box.SIMPLE)
    table.title = f"A target's tile with defects, size {report.size}"
    for figure in report.results[0].accuracy:
        values = [result.accuracy[figure] for result in report.results]
        table.add_row(figure, *("" if value is None else f"{value:.4f}" for value in values))
    table.add_row("verdict of the fluxes", *(result.verdict for result in report.results))
    for name, cost in (("CPU, s", "cpu_sec"), ("wall, s", "wall_sec")):
        sums = [sum(getattr(c, cost) for c in report.costs if c.tile == result.name) for result in report.results]
        table.add_row(f"{name}, all stages", *(f"{value:.0f}" for value in sums))
    console.print(table)
    for result in report.results:
        lines = [f"not named: {', '.join(result.missed_antennas)}"] if result.missed_antennas else []
        if result.wrongly_named_antennas:
            lines.append(f"named without a fault: {', '.join(result.wrongly_named_antennas)}")
        for line in (*lines, *result.reasons):
            console.print(f"{result.name}: {line}", highlight=False, soft_wrap=True)


def _row(cost: Cost) -> tuple[str, str, str, str, str]:
    memory = f"{cost.peak_rss_bytes / 1e9:.2f}"
    return cost.tile, cost.stage, f"{cost.wall_sec:.1f}", f"{cost.cpu_sec:.1f}", memory


def print_hour(result: HourResult, console: Console) -> None:
    """Print a table of stages, the real-time factor, accuracy and what was left over."""
    table = Table("tile", "stage", "n", "wall, s (median)", "longest", "CPU, s", "memory, GB", box=box.SIMPLE)
    table.title = f"{result.n_tiles} tiles through ingest, queue and workers"
    for stage in result.stages:
        table.add_row(
            stage.tile, stage.stage, str(stage.n), f"{stage.wall_sec_median:.1f}", f"{stage.wall_sec_max:.1f}",
            "" if stage.cpu_sec_median is None else f"{stage.cpu_sec_median:.1f}",
            "" if stage.peak_rss_bytes_max is None else f"{stage.peak_rss_bytes_max / 1e9:.2f}",
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
