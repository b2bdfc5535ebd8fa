"""The result of some runs: one JSON document read back from the database, and the same as tables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from django.core.management.base import OutputWrapper
from rich import box
from rich.table import Table
from rich.text import Text

from pipeline_app.ingest.register import Ingested, Tile
from pipeline_app.models import Measurement, Product, SubbandFile
from tasks_app.management.printing import SafeConsole
from tasks_app.models import Attempt, Run, Task, TaskStatus
from tasks_app.postgresql import clock

FORMAT = 2
VERDICT_STYLES = {"pass": "green", "warn": "yellow", "fail": "red", "completed": "green", "failed": "red"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How some runs ended: whether every task completed, and which verdicts say that the science failed."""

    tasks_completed: bool
    failed_verdicts: tuple[str, ...]
    """One line for each task that completed with the verdict fail: tile, stage, reasons."""

    @property
    def science_ok(self) -> bool:
        """Whether the fluxes may be used."""
        return self.tasks_completed and not self.failed_verdicts


def outcome_of(tasks: Sequence[Task]) -> Outcome:
    """Return how the runs of some tasks ended; no task at all is not a success."""
    failed = [
        f"{task.run.label if task.run else ''} {task.task_name}: {'; '.join(_reasons(task)) or 'no reason given'}"
        for task in tasks
        if _verdict(task) == "fail"
    ]
    completed = bool(tasks) and all(task.status == TaskStatus.COMPLETED for task in tasks)
    return Outcome(tasks_completed=completed, failed_verdicts=tuple(failed))


def build(runs: Sequence[Run], found: Ingested, *, directory: Path, ok: bool, trouble: str = "") -> dict[str, Any]:
    """Return the report: observations, tasks, products, measurements, verdicts, and the files that were not used.

    `ok` says whether the call succeeded, `tasks_ok` whether every task completed, `science_ok` whether besides no task
    completed with the verdict fail; `failed_verdicts` says which did and why.
    """
    tasks = list(Task.objects.filter(run__in=runs).select_related("run").order_by("id"))
    labels = {task.task_id: task.run.label for task in tasks if task.run is not None}
    tiles = {tile.observation.pk: tile for tile in found.tiles}
    outcome = outcome_of(tasks)
    observations = [_observation(run, tiles[run.params["observation_id"]], tasks) for run in runs]
    return {
        "format": FORMAT,
        "directory": str(directory),
        "ok": ok,
        "tasks_ok": outcome.tasks_completed,
        "science_ok": outcome.science_ok,
        "failed_verdicts": list(outcome.failed_verdicts),
        "trouble": trouble,
        "observations": observations,
        "tasks": [_task(task) for task in tasks],
        "products": _products(labels),
        "measurements": _fluxes(labels),
        "verdicts": [
            {"observation": labels[t.task_id], "task_name": t.task_name, "verdict": v, "reasons": _reasons(t)}
            for t in tasks
            if (v := _verdict(t)) is not None
        ],
        "problems": [{"path": problem.path, "problem": problem.problem} for problem in found.problems],
    }


def _observation(run: Run, tile: Tile, tasks: Sequence[Task]) -> dict[str, Any]:
    observation = tile.observation
    own = [task for task in tasks if task.run_id == run.pk]
    held = set(SubbandFile.objects.filter(path__in=tile.paths).values_list("subband", flat=True))
    return {
        "name": observation.name,
        "run_id": str(run.run_id),
        "role": run.params["role"],
        "telescope_name": observation.telescope_name,
        "start_mjd": observation.start_mjd,
        "mid_mjd": observation.mid_mjd,
        "duration_sec": observation.duration_sec,
        "declination_deg": observation.declination_deg,
        "ra_deg": observation.ra_deg,
        "dec_deg": observation.dec_deg,
        "n_subbands": len(tile.paths),
        "missing_subbands": [k for k in range(observation.expected_subbands or 0) if k not in held],
        "paths": list(tile.paths),
        "calibrator": observation.calibrator or None,
        "calibrator_apparent_flux_jy": observation.calibrator_apparent_flux_jy,
        "ok": all(task.status == "completed" for task in own),
    }


def _task(task: Task) -> dict[str, Any]:
    attempts = list(Attempt.objects.filter(task_id=task.task_id).order_by("number"))
    return {
        "task_id": str(task.task_id),
        "task_name": task.task_name,
        "observation": task.run.label if task.run else None,
        "queue_name": task.queue_id,
        "status": task.status,
        "failure_class": task.failure_class or None,
        "error": task.error,
        "unrunnable_because": str(task.unrunnable_because) if task.unrunnable_because else None,
        "retry_count": task.retry_count,
        "attempts": len(attempts),
        "duration_sec": attempts[-1].wall_sec if attempts else None,
        "peak_rss_bytes": attempts[-1].peak_rss_bytes if attempts else None,
        "log_path": attempts[-1].log_path if attempts else None,
        "verdict": _verdict(task),
        "reasons": _reasons(task),
        "created_at": clock.stamp(task.created_at),
        "claimed_at": clock.stamp(task.claimed_at) if task.claimed_at else None,
        "completed_at": clock.stamp(task.completed_at) if task.completed_at else None,
        "result": task.result,
    }


def _verdict(task: Task) -> str | None:
    return task.result.get("verdict") if isinstance(task.result, dict) else None


def _reasons(task: Task) -> list[str]:
    return list(task.result.get("reasons", [])) if isinstance(task.result, dict) else []


def _products(labels: dict[UUID, str]) -> list[dict[str, Any]]:
    """Return the products of tasks; the metrics, such as rms_jy, stand beside kind and path."""
    return [
        {
            **product.metrics,
            "kind": product.kind,
            "path": product.path,
            "observation": labels[product.task_id],
            "task_id": str(product.task_id),
            "task_name": product.task_name,
            "attempt": product.attempt,
            "verdict": product.verdict or None,
            "size_bytes": product.size_bytes,
            "checksum": product.checksum,
            "inputs": product.inputs,
            "versions": product.versions,
        }
        for product in Product.objects.filter(task_id__in=labels).order_by("id")
    ]


MEASURED = (
    "name", "ra_deg", "dec_deg", "flux_jy", "flux_err_jy", "snr", "offset_arcsec", "catalog_flux_jy",
    "local_rms_jy", "primary_beam", "freq_hz", "mid_mjd", "image_path", "verdict",
)  # fmt: skip


def _fluxes(labels: dict[UUID, str]) -> list[dict[str, Any]]:
    """Return the fluxes that tasks measured."""
    return [
        {name: getattr(row, name) for name in MEASURED} | {"observation": labels[row.task_id]}
        for row in Measurement.objects.filter(task_id__in=labels).order_by("id")
    ]


def write_json(document: dict[str, Any], place: Path | None, stdout: OutputWrapper) -> None:
    """Write a document to a file, of which a reader never sees half, or to standard output where the place is `-`."""
    if place is None:
        return
    text = json.dumps(document, indent=1)
    if str(place) == "-":
        stdout.write(text)
        return
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    partial.write_text(f"{text}\n", encoding="utf-8")
    partial.replace(place)


def is_writable(place: Path | None) -> bool:
    """Whether `write_json` can write to the place."""
    return place is None or str(place) == "-" or (not place.is_dir() and os.access(place.parent, os.W_OK))


def print_report(report: dict[str, Any], stream: TextIO) -> None:
    """Print tables of tiles, tasks, fluxes and products."""
    console = SafeConsole(stream)
    console.print(_tasks(report))
    if report["measurements"]:
        console.print(_measurements(report))
    for product in report["products"]:
        rms = f"  rms {product['rms_jy'] * 1e3:.2f} mJy" if product.get("rms_jy") is not None else ""
        console.print(f"{product['kind']:<14} {product['path']}{rms}", soft_wrap=True)
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
    table = Table("tile", "role", "stage", "status", "verdict", "time", "memory", "why", box=box.SIMPLE, title="Tasks")
    roles = {observation["name"]: observation["role"] for observation in report["observations"]}
    for task in report["tasks"]:
        why = task["error"] if task["status"] != "completed" else "; ".join(task["reasons"])
        table.add_row(
            task["observation"],
            roles.get(task["observation"], ""),
            task["task_name"],
            _coloured(task["status"]),
            _coloured(task["verdict"] or ""),
            "" if task["duration_sec"] is None else f"{task['duration_sec']:.1f} s",
            "" if task["peak_rss_bytes"] is None else f"{task['peak_rss_bytes'] / 2**20:.0f} MiB",
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


def _coloured(word: str) -> Text:
    return Text(word, VERDICT_STYLES.get(word, ""))
