"""The demo's result for people."""

from __future__ import annotations

from typing import Any, TextIO

from rich import box
from rich.table import Table
from rich.text import Text

from tasks_app.management.printing import SafeConsole


def print_judgement(judgement: dict[str, Any], stream: TextIO) -> None:
    """Print sources, image, gains and checks."""
    console = SafeConsole(stream)
    console.print(_sources(judgement))
    image, gains = judgement["image"], judgement["gains"]
    console.print(
        f"image    rms {image['rms_jy'] * 1e3:.2f} mJy, expected of the noise {image['thermal_rms_jy'] * 1e3:.2f} mJy; "
        f"peak {image['peak_jy'] * 1e3:.0f} mJy; beam {image['beam_major_arcsec']:.1f}″ × "
        f"{image['beam_minor_arcsec']:.1f}″",
    )
    console.print(
        f"gains    {gains['n_antennas']} antennas: amplitudes {gains['amplitude_rms']:.2%} rms and phases "
        f"{gains['phase_rms_deg']:.2f}° rms off the injected",
    )
    for check in judgement["checks"]:
        console.print(_mark(check["passed"]), f"{check['name']}: {_figure(check)} ({check['limit']})")


def _mark(good: bool) -> Text:
    return Text("✓", "green") if good else Text("✗", "red")


def _figure(check: dict[str, Any]) -> str:
    """Write a check's figure in the unit of its limit."""
    if check["value"] is None:
        return "none"
    return f"{check['value']:.2%}" if "%" in check["limit"] else f"{check['value']:.3f}"


def _sources(judgement: dict[str, Any]) -> Table:
    table = Table(
        "source", "injected, mJy", "measured, mJy", "±", "ratio", "offset, ″", "", box=box.SIMPLE, title="Target tile"
    )
    for row in judgement["sources"]:
        measured = row["measured_jy"] is not None
        table.add_row(
            row["name"],
            f"{row['injected_jy'] * 1e3:.2f}",
            f"{row['measured_jy'] * 1e3:.2f}" if measured else "not measured",
            f"{row['error_jy'] * 1e3:.2f}" if measured else "",
            f"{row['ratio']:.3f}" if measured else "",
            "" if row["offset_arcsec"] is None else f"{row['offset_arcsec']:.2f}",
            _mark(row["within"]),
        )
    return table


def print_stages(tasks: list[dict[str, Any]], stream: TextIO) -> None:
    """Print how long each stage took."""
    console = SafeConsole(stream)
    table = Table("stage", "tile", "status", "verdict", "time", "memory", box=box.SIMPLE, title="Stages")
    for task in tasks:
        table.add_row(
            task["task_name"],
            task["observation"],
            task["status"],
            task["verdict"] or "",
            "" if task["duration_sec"] is None else f"{task['duration_sec']:.1f} s",
            "" if task["peak_rss_bytes"] is None else f"{task['peak_rss_bytes'] / 2**20:.0f} MiB",
        )
    console.print(table)


def print_places(products: list[dict[str, Any]], lines: list[str], stream: TextIO) -> None:
    """Print where everything is."""
    console = SafeConsole(stream)
    for product in products:
        console.print(f"{product['kind']:<14} {product['path']}", soft_wrap=True)
    for line in lines:
        console.print(line, soft_wrap=True)
