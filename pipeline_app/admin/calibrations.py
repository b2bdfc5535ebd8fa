"""Calibrations: what each found for every antenna, how two differ, and what was made from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from django.db.models import Q

from pipeline_app import downloads
from pipeline_app.admin.calibration_timeline import VALID_DAYS
from pipeline_app.calibration_summary import SUMMARY_NAME, AntennaSummary, SolutionsSummary, read_summary
from pipeline_app.models import Calibration, Product
from tasks_app.admin.charts import Axis, HeatMap, Series, XYChart
from tasks_app.errors import FilesBusy

MADE_MOST = 200
OTHERS_MOST = 50
SIZE = (120.0, 34.0)
"""Width and height of a small panel, in its own units."""
HANDS = ("X", "Y")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The solutions of a calibration, or why they cannot be shown."""

    summary: SolutionsSummary | None = None
    problem: str = ""


def solutions_of(calibration: Calibration) -> Found:
    """Read the summary that the stage wrote beside the tables, here or on the host that made them."""
    host = Product.objects.filter(path=calibration.path).values_list("host", flat=True).first()
    summary = Product(path=f"{calibration.path}/{SUMMARY_NAME}", host=host or "")
    try:
        if downloads.locate(summary) is None and downloads.locate(Product(path=calibration.path)) is not None:
            return Found(problem="nothing was solved, or it was solved before solutions were stored for this page")
        return Found(summary=downloads.read(summary, read_summary))
    except FilesBusy as error:
        return Found(problem=str(error))
    except (OSError, ValueError) as error:
        return Found(problem=f"its solutions cannot be read: {str(error).splitlines()[0]}")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One hand of an antenna as a line in a small panel."""

    hand: str
    amplitude: str
    phase: list[tuple[float, float]]
    is_other: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The small panel of one antenna."""

    name: str
    mark: str
    """Why it stands out: reference, no data, no solution, or nothing."""
    delays: str
    snr: str
    flagged: str
    traces: list[Trace]
    change: str = ""
    """Against the other calibration."""


def panels(
    summary: SolutionsSummary, metrics: dict[str, Any], other: SolutionsSummary | None = None
) -> tuple[list[Panel], float]:
    """Return a panel for each antenna, those with problems first, and the amplitude at the top of all."""
    known = [v for antenna in summary.antennas for hand in antenna.amplitude for v in hand if v is not None]
    top = max(2.0, min(max(known, default=2.0), 4.0)) * 1.05
    others = {antenna.name: antenna for antenna in other.antennas} if other else {}
    without_data = set(metrics.get("antennas_without_data", ()))
    without_solution = set(metrics.get("antennas_without_solution", ()))
    found = []
    for antenna in summary.antennas:
        mark = "no data" if antenna.name in without_data else "no solution" if antenna.name in without_solution else ""
        mark = "reference" if antenna.name == summary.refant else mark
        pair = others.get(antenna.name)
        traces = [*(_traces(pair, top, is_other=True) if pair else []), *_traces(antenna, top)]
        panel = Panel(
            name=antenna.name,
            mark=mark,
            delays=" / ".join(_number(value, "{:+.1f}") for value in antenna.delay_ns) + " ns",
            snr=" / ".join(_number(value, "{:.0f}") for value in antenna.snr),
            flagged=f"{100 * sum(antenna.flagged) / max(len(antenna.flagged), 1):.0f} %",
            traces=traces,
            change=_change(antenna, pair) if pair else "",
        )
        found.append((_badness(antenna, mark), panel))
    return [panel for _, panel in sorted(found, key=lambda each: each[0])], top


def _badness(antenna: AntennaSummary, mark: str) -> tuple[int, float, float]:
    """Return what orders antennas, the worst first: by mark, then by what is flagged, then by signal to noise."""
    known = [value for value in antenna.snr if value is not None]
    return {"no data": 0, "no solution": 1}.get(mark, 2), -sum(antenna.flagged), min(known, default=0.0)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(round(value, 1) + 0.0)  # no negative zero


def _traces(antenna: AntennaSummary, top: float, *, is_other: bool = False) -> list[Trace]:
    width, height = SIZE
    made = []
    for hand, amplitudes, phases in zip(HANDS, antenna.amplitude, antenna.phase_deg, strict=False):
        # Subband 0 is the highest frequency: drawn from the right, so that frequency grows to the right.
        step = width / max(len(amplitudes), 1)
        across = [round(width - (index + 0.5) * step, 1) for index in range(len(amplitudes))]
        line = " ".join(
            f"{x},{round(height * (1 - min(value, top) / top), 1)}"
            for x, value in zip(across, amplitudes, strict=True)
            if value is not None
        )
        dots = [
            (x, round(height * (0.5 - value / 360), 1))
            for x, value in zip(across, phases, strict=True)
            if value is not None
        ]
        made.append(Trace(hand=hand, amplitude=line, phase=dots, is_other=is_other))
    return made


def _change(antenna: AntennaSummary, other: AntennaSummary) -> str:
    """Write by how much amplitude and phase differ from the other calibration, medians over hands and subbands."""
    ratios, turns = [], []
    for own, theirs in zip(antenna.amplitude, other.amplitude, strict=False):
        ratios += [a / b for a, b in zip(own, theirs, strict=False) if a is not None and b]
    for own, theirs in zip(antenna.phase_deg, other.phase_deg, strict=False):
        turns += [
            abs((a - b + 180) % 360 - 180) for a, b in zip(own, theirs, strict=False) if a is not None and b is not None
        ]
    if not ratios or not turns:
        return "nothing to compare"
    return f"× {median(ratios):.3f}, {median(turns):.1f}°"


def flag_map(summary: SolutionsSummary) -> HeatMap:
    """Draw the flagged fraction by antenna and subband."""
    names = [antenna.name for antenna in summary.antennas]
    cells = [
        (column, row, value)
        for column, antenna in enumerate(summary.antennas)
        for row, value in enumerate(antenna.flagged)
    ]
    return HeatMap(
        name="flags",
        title="Flagged solutions by antenna and subband",
        x=Axis(label="antenna", kind="category", categories=names),
        y=Axis(label="subband", kind="category", categories=[str(k) for k in range(len(summary.freq_ghz))]),
        cells=cells,
    )


def delay_chart(summary: SolutionsSummary, other: SolutionsSummary | None = None) -> XYChart:
    """Draw the delays of the antennas, or by how much they differ from those of another calibration."""
    names = [antenna.name for antenna in summary.antennas]
    return XYChart(
        name="delays",
        title="Delays against the other calibration" if other else "Delays",
        x=Axis(label="antenna", kind="category", categories=names),
        y=Axis(label="difference" if other else "delay", unit="ns"),
        series=[
            Series(name=hand, mark="point", points=_delays(summary, other, number)) for number, hand in enumerate(HANDS)
        ],
        size="large",
    )


def _delays(summary: SolutionsSummary, other: SolutionsSummary | None, hand: int) -> list[tuple[int, float]]:
    """Return (antenna's place, delay or difference) for each antenna that has it."""
    theirs = {antenna.name: antenna.delay_ns[hand : hand + 1] for antenna in other.antennas} if other else {}
    points = []
    for place, antenna in enumerate(summary.antennas):
        (own,) = antenna.delay_ns[hand : hand + 1] or [None]
        (reference,) = (theirs.get(antenna.name) or [None]) if other else [0.0]
        if own is not None and reference is not None:
            points.append((place, round(own - reference, 4)))
    return points


def made_from(calibration: Calibration) -> list[Product]:
    """Return the calibrated data that it was applied to; their observations lie within its time of use."""
    near = (calibration.mid_mjd - VALID_DAYS, calibration.mid_mjd + VALID_DAYS)
    applied = Q(params__calibration_path=calibration.path) | Q(params__other_calibration_path=calibration.path)
    rows = Product.objects.filter(applied, kind="calibrated-ms", observation__mid_mjd__range=near)
    return list(rows.select_related("observation").defer("inputs", "versions").order_by("-id")[:MADE_MOST])


def others_of(calibration: Calibration) -> list[Calibration]:
    """Return the calibrations of its strip, the nearest in time first."""
    near = (calibration.declination_deg - 0.5, calibration.declination_deg + 0.5)
    rows = Calibration.objects.filter(declination_deg__range=near).exclude(pk=calibration.pk)
    return list(rows.select_related("observation").order_by("-mid_mjd")[:OTHERS_MOST])


def plot_of(calibration: Calibration) -> Product | None:
    """Return the picture of all channels that the stage drew."""
    return Product.objects.filter(task_id=calibration.task_id, kind="plot").first()


def metrics_of(calibration: Calibration) -> dict[str, Any]:
    """Return the figures that the stage stored with its product."""
    stored = Product.objects.filter(path=calibration.path).values_list("metrics", flat=True).first()
    return stored or {}


def name_of(calibration: Calibration) -> str:
    """Return the last part of its path."""
    return Path(calibration.path).name
