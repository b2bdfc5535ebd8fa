"""What was left out of a tile and why: amounts for the result, reasons for the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa.raw import RawHeader, RawSubband, RawTile, Spectrum
from pipeline_app.casa.solutions import Solutions
from pipeline_app.casa.stream_flags import SubbandFlags
from pipeline_app.quality import Assessment, assess
from pipeline_app.stages.calibrate_target import FlagCounts

WHOLLY = 0.99
"""Of a subband flagged in its file: counted as wholly flagged."""
MIN_FLAGGED = 0.01
"""Of a subband: less is not worth a reason."""
MAX_NAMES = 12


@dataclass(kw_only=True)
class Repairs:
    """Counts that grow with each subband, by the name of its file."""

    flagged: dict[str, float] = field(default_factory=dict)
    """Fraction of the data that was flagged in the file or without a sample, of baselines with data in the subband."""
    wild: dict[str, int] = field(default_factory=dict)
    """Visibilities that are not finite, or absurdly large; only files that have some."""

    def add(self, header: RawHeader, flagged: NDArray[np.floating], *, n_wild: int) -> None:
        """Count a subband; `flagged` are the fractions of its rows whose baselines have data."""
        self.flagged[header.path.name] = float(flagged.mean()) if flagged.size else 1.0
        if n_wild:
            self.wild[header.path.name] = n_wild

    @property
    def n_wild(self) -> int:
        """Visibilities that are not finite, or absurdly large, in all files."""
        return sum(self.wild.values())

    @property
    def flagged_fraction(self) -> float:
        """Mean over the files of what was flagged in them."""
        return float(np.mean(list(self.flagged.values()))) if self.flagged else 0.0

    def reasons(self, headers: Sequence[RawHeader], spectrum: Spectrum) -> list[str]:
        """Return what is missing, narrower, flagged or not finite in the files of a tile, with its amount."""
        reasons = []
        if spectrum.missing_subbands:
            reasons.append(f"missing subbands, flagged: {', '.join(map(str, spectrum.missing_subbands))}")
        full = max(len(header.freqs_hz) for header in headers)
        if narrower := [header for header in headers if len(header.freqs_hz) < full]:
            widths = "; ".join(f"{header.path.name} has {len(header.freqs_hz)} of {full}" for header in narrower)
            reasons.append(f"narrower subbands, missing channels flagged: {widths} channels")
        if wholly := [name for name, fraction in self.flagged.items() if fraction > WHOLLY]:
            reasons.append(f"{len(wholly)} subbands wholly flagged in the raw files: {named(wholly)}")
        if partly := {name: part for name, part in self.flagged.items() if MIN_FLAGGED < part <= WHOLLY}:
            amounts = named([f"{name} {part:.0%}" for name, part in partly.items()])
            reasons.append(f"{len(partly)} subbands partly flagged in the raw files or without samples: {amounts}")
        if self.wild:
            files = named(list(self.wild))
            reasons.append(f"{self.n_wild} visibilities not finite or absurdly large, flagged, in {files}")
        return reasons


def named(names: Sequence[str]) -> str:
    """Return names in a row, only the first where they are many."""
    return f"{', '.join(names[:MAX_NAMES])}{' …' if len(names) > MAX_NAMES else ''}"


FAIL_FLAGGED, WARN_FLAGGED = 0.8, 0.5
"""Of the data of antennas with data, as for calibrations."""
WARN_INTERFERENCE = 0.05


@dataclass(kw_only=True)
class Tally:
    """Counts that grow with each subband."""

    with_data: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """(n_baselines,): whether any subband had unflagged data."""
    has_level: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    """(n_antennas, n_hands): the same of the hands of each antenna."""
    repairs: Repairs = field(default_factory=Repairs)
    interference: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    channels: int = 0
    clipped: int = 0
    bad_integrations: int = 0
    bad_channels: int = 0

    def add(self, tile: RawTile, subband: RawSubband, flags: SubbandFlags, *, clipped: int) -> None:
        has_level: NDArray[np.bool_] = flags.levels > 0
        self.has_level = has_level | self.has_level if self.has_level.size else has_level
        any_level: NDArray[np.bool_] = np.any(has_level, axis=1)
        with_data = any_level[tile.first] & any_level[tile.second]
        self.with_data = with_data | self.with_data if self.with_data.size else with_data
        own = subband.rows.rows[with_data]
        own = own[own >= 0]
        flagged = np.count_nonzero(subband.bad[..., tile.hands].any(axis=(1, 3)), axis=1) if len(own) else np.zeros(0)
        n_channels = subband.data.shape[2]
        self.repairs.add(tile.headers[subband.index], flagged[own] / n_channels, n_wild=flags.wild)
        self.interference.append(float(flags.bad_cell.mean()))
        self.rows.append(float(flags.bad_row[with_data].mean()) if with_data.any() else 0.0)
        self.channels += n_channels
        self.clipped += clipped
        self.bad_integrations += int(flags.bad_times.sum())
        self.bad_channels += int(flags.bad_channels.sum())


@dataclass(frozen=True, kw_only=True)
class StreamReport:
    """Flags and antennas in the stage's result."""

    assessment: Assessment
    flagged_fraction: float
    flag_counts: FlagCounts
    dead_antennas: list[str]
    antennas_without_solution: list[str]
    antennas_without_data: list[str]


def reasons_of(
    tile: RawTile,
    tally: Tally,
    weights: NDArray[np.float32],
    dead: NDArray[np.bool_],
    solutions: Solutions,
    *,
    warnings: Sequence[str] = (),
) -> StreamReport:
    """Judge a tile by what is left of it.

    Args:
        weights: (n_rows, n_averaged, n_hands), 0 where flagged.
        dead: (n_antennas, n_times, n_hands).
        solutions: gains on the tile's antennas.
        warnings: of the stage itself, to be listed last.
    """
    with_data = tally.with_data
    unsolved: NDArray[np.bool_] = np.asarray(solutions.flags.all(axis=2))
    counted = tile.target_row[with_data]
    used = int(np.count_nonzero(weights[counted[counted >= 0]]))
    held = tally.channels / len(tile.spectrum.freqs_hz)  # missing subbands are named, and count in no fraction
    total = np.count_nonzero(counted >= 0) * weights.shape[1] * weights.shape[2] * held
    flagged_fraction = 1.0 - used / total if total else 1.0
    dead_names = _dead_names(tile, dead)
    without_data = [_name(tile, index, bad) for index, bad in enumerate(~tally.has_level & ~unsolved) if bad.any()]
    counts = FlagCounts(
        input_fraction=tally.repairs.flagged_fraction,
        missing_fraction=1.0 - tally.channels / len(tile.spectrum.freqs_hz),
        interference_fraction=float(np.mean(tally.interference)),
        row_fraction=float(np.mean(tally.rows)),
        n_clipped=tally.clipped,
        n_nonfinite_or_wild=tally.repairs.n_wild,
        n_bad_integrations=tally.bad_integrations,
        n_bad_channels=tally.bad_channels,
    )
    unsolved_names = [_name(tile, index, bad) for index, bad in enumerate(unsolved) if bad.any()]
    doubts = _antenna_reasons(dead_names, unsolved_names, without_data)
    doubts += _data_reasons(tile, tally, counts)
    failures: list[str] = []
    level = failures if flagged_fraction > FAIL_FLAGGED else doubts
    if flagged_fraction > WARN_FLAGGED:
        level.append(f"{flagged_fraction:.0%} of the data are flagged (limit {WARN_FLAGGED:.0%})")
    return StreamReport(
        assessment=assess(failures, [*doubts, *warnings]),
        flagged_fraction=flagged_fraction,
        flag_counts=counts,
        dead_antennas=dead_names,
        antennas_without_solution=unsolved_names,
        antennas_without_data=without_data,
    )


def _dead_names(tile: RawTile, dead: NDArray[np.bool_]) -> list[str]:
    """Name the antennas that are dead at any time, with the part of the time."""
    named = []
    for index in np.flatnonzero(dead.any(axis=(1, 2))):
        which = dead[index].any(axis=0)
        part = dead[index][:, which].mean()
        text = _name(tile, index, which)
        named.append(text if part == 1 else f"{text} ({part:.0%} of the time)")
    return named


def _name(tile: RawTile, index: int, hands: NDArray[np.bool_]) -> str:
    """Name an antenna, with the hands that are meant unless all are."""
    if hands.all():
        return tile.antenna_names[index]
    labels = {-1: "RR", -2: "LL", -5: "XX", -6: "YY"}
    codes = tile.metadata.polarization_array
    return f"{tile.antenna_names[index]} {'+'.join(labels[int(codes[hand])] for hand in np.flatnonzero(hands))}"


def _antenna_reasons(dead: list[str], unsolved: list[str], without_data: list[str]) -> list[str]:
    kinds = (
        (dead, "give no sky in spite of a solution, flagged"),
        (unsolved, "have no solution, flagged"),
        (without_data, "have no data"),
    )
    return [f"{len(names)} antennas {what}: {named(names)}" for names, what in kinds if names]


def _data_reasons(tile: RawTile, tally: Tally, counts: FlagCounts) -> list[str]:
    reasons = [*tile.warnings, *tally.repairs.reasons(tile.headers, tile.spectrum)]
    if counts.interference_fraction + counts.row_fraction > WARN_INTERFERENCE:
        reasons.append(
            f"interference: {counts.interference_fraction + counts.row_fraction:.1%} flagged"
            f" ({counts.n_bad_integrations} integrations of a subband, {counts.n_bad_channels} channels)"
        )
    return reasons
