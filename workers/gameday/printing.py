"""The reports for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workers.gameday.catalogue import Scenario
from workers.gameday.report import Report
from workers.gameday.targets import SLACK_SEC


def print_list(scenarios: Sequence[Scenario], console: Console) -> None:
    """Print what there is to play."""
    table = Table("scenario", "what happens", "servers", box=box.SIMPLE)
    for each in scenarios:
        table.add_row(each.name, each.title, "its own" if each.servers else "")
    console.print(table)


def print_line(report: Report, console: Console) -> None:
    """Print the result of one scenario, and what failed in it."""
    passed = Text("passed", "green") if report.passed else Text("FAILED", "red")
    word = Text("skipped", "yellow") if report.skipped else passed
    console.print(word, f"{report.name} ({report.wall_sec:.0f} s) {report.skipped}")
    for check in report.failures:
        console.print(f"    {check.what}: {check.found or 'no'}", highlight=False, markup=False)


def print_table(reports: Sequence[Report], console: Console) -> None:
    """Print all of them with their figures."""
    columns = ["scenario", "result", "accepted", "completed", "failed", "cancelled", "twice", "refused products"]
    table = Table(*columns, "recovery", "bound", "tasks/s before", "after", box=box.SIMPLE, title="Game day")
    for report in reports:
        ended = [str(report.ended.get(status, 0)) for status in ("completed", "failed", "cancelled")]
        table.add_row(
            report.name,
            "skipped" if report.skipped else "passed" if report.passed else "FAILED",
            str(report.accepted),
            *ended,
            str(report.ended_twice),
            str(report.refused_products),
            _number(report.recovery_sec, " s"),
            _number(report.recovery_bound_sec, " s"),
            _number(report.throughput_before),
            _number(report.throughput_after),
        )
    console.print(table)
    console.print(f"Bounds are granted {SLACK_SEC:g} s more, because other programs run here.", highlight=False)


def _number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.2f}{unit}"
