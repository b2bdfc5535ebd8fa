"""The report for people."""

from __future__ import annotations

from typing import Any, TextIO

from rich import box
from rich.table import Table
from rich.text import Text

from tasks_app.management.printing import SafeConsole

VERDICT_STYLES = {"pass": "green", "warn": "yellow", "fail": "red", "completed": "green", "failed": "red"}


def print_report(report: dict[str, Any], stream: TextIO) -> None:
    """Print tables of tiles, tasks, fluxes and products."""
    console = SafeConsole(stream)
    console.print(_tasks(report))
    if report["measurements"]:
        console.print(_measurements(report))
    for product in report["products"]:
        console.print(_product(product), soft_wrap=True)
    for problem in report["problems"]:
        console.print(Text("not as expected", "yellow"), f"{problem['path']}: {problem['problem']}")
    for line in report["failed_verdicts"]:
        console.print(Text("failed", "red"), line, soft_wrap=True)
    done = sum(task["status"] == "completed" for task in report["tasks"])
    style = "red"
    if not report["tasks_ok"]:
        verdict = report["trouble"] or "not all completed"
    elif report["science_ok"]:
        verdict, style = "all tasks completed", "green"
    else:
        verdict = "all tasks completed, but a verdict is fail: do not use these fluxes"
    console.print(Text(verdict, style), f"({done} of {len(report['tasks'])})")


def _tasks(report: dict[str, Any]) -> Table:
    table = Table("tile", "role", "stage", "status", "verdict", "time", "why", box=box.SIMPLE, title="Tasks")
    roles = {observation["name"]: observation["role"] for observation in report["observations"]}
    for task in report["tasks"]:
        why = task["error"] if task["status"] != "completed" else "; ".join(task["reasons"])
        table.add_row(
            task["observation"],
            roles.get(task["observation"], ""),
            task["task_name"],
            _coloured(task["status"]),
            _coloured(task["verdict"] or ""),
            f"{task['duration_sec']:.1f} s" if task["duration_sec"] is not None else "",
            (why or "").split("\n", 1)[0],
        )
    return table


def _measurements(report: dict[str, Any]) -> Table:
    columns = ["source", "tile", "ra", "dec", "flux, mJy", "±", "S/N", "catalogue, mJy", "offset, ″", "verdict"]
    table = Table(*columns, box=box.SIMPLE, title="Stokes I at 1.405 GHz, corrected for the primary beam")
    for row in report["measurements"]:
        table.add_row(
            row["name"],
            row["observation"],
            f"{row['ra_deg']:.5f}",
            f"{row['dec_deg']:+.5f}",
            f"{row['flux_jy'] * 1e3:.2f}",
            f"{row['flux_err_jy'] * 1e3:.2f}",
            f"{row['snr']:.1f}",
            "" if row["catalog_flux_jy"] is None else f"{row['catalog_flux_jy'] * 1e3:.2f}",
            "" if row["offset_arcsec"] is None else f"{row['offset_arcsec']:.2f}",
            _coloured(row["verdict"]),
        )
    return table


def _product(product: dict[str, Any]) -> str:
    rms = f"  rms {product['rms_jy'] * 1e3:.2f} mJy" if product.get("rms_jy") is not None else ""
    return f"{product['kind']:<14} {product['path']}{rms}"


def _coloured(word: str) -> Text:
    return Text(word, VERDICT_STYLES.get(word, ""))
