"""The figures of the pipeline for people."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from absurd_project.benchmark.pipeline import TILE_SEC, Cost, PipelineReport


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
    for name, ratio in report.ratios().items():
        console.print(f"{name}: {ratio:.2f}", highlight=False)
    for name, value in report.accuracy.items():
        console.print(f"{name}: {'none' if value is None else f'{value:.4f}'}", highlight=False)
    share = report.total_sec("target") / TILE_SEC
    console.print(f"the target's tile takes {share:.0%} of the {TILE_SEC:.0f} s that the sky takes", highlight=False)
    for note in report.notes:
        console.print(note, highlight=False)


def _row(cost: Cost) -> tuple[str, str, str, str, str]:
    memory = f"{cost.peak_rss_bytes / 1e9:.2f}"
    return cost.tile, cost.stage, f"{cost.wall_sec:.1f}", f"{cost.cpu_sec:.1f}", memory
