"""The options of `absurd_simulate`: text into specs."""

from __future__ import annotations

import dataclasses
import functools
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pipeline_app.simulation.corruption import scale_of
from pipeline_app.simulation.geometry import pick_stations
from pipeline_app.simulation.presets import SIZES, field_of, hour_tiles, moved_to, tile_pair
from pipeline_app.simulation.spec import (
    POLARIZATIONS,
    AntennaFault,
    Burst,
    Carrier,
    Defects,
    FieldSpec,
    LostSamples,
    Polarization,
    RollOff,
    SmearingSpec,
    TileSpec,
    WeakIntegration,
)
from pipeline_app.simulation.tile import thermal_rms_jy

DEFAULT_FLUX_JY = (0.05, 1.0)


def add_sky_options(parser: ArgumentParser) -> None:
    """Add the options of the sky and the shape of the tiles."""
    parser.add_argument(
        "--size",
        choices=tuple(SIZES),
        default="demo",
        help="tiny: 12 antennas, 16 channels; demo: 28, 64; full: 96, 768 (2.3 GB a tile). Default: %(default)s",
    )
    parser.add_argument("--hour", action="store_true", help="a calibrator tile and 12 consecutive target tiles")
    parser.add_argument(
        "--before", type=_instant, default=None, metavar="TIME", help="simulate the last pass before this UTC time"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="other noise and gains")
    parser.add_argument("--target-ra-deg", type=float, metavar="DEG", help="centre the target tile here, such as 0")
    parser.add_argument("--sources", type=int, metavar="N", help="number of the target's sources")
    parser.add_argument("--flux-jy", type=float, nargs=2, metavar=("MIN", "MAX"), help="fluxes of the target's sources")
    parser.add_argument(
        "--snr", type=float, nargs=2, metavar=("MIN", "MAX"), help="the same, as apparent flux over the thermal noise"
    )
    parser.add_argument("--field-seed", type=int, default=5, metavar="N", help="other positions and fluxes")
    parser.add_argument("--radius-deg", type=float, default=0.95, metavar="DEG", help="sources within this radius")
    parser.add_argument("--apart-deg", type=float, default=0.12, metavar="DEG", help="least distance between sources")
    parser.add_argument(
        "--calibrator-factor", type=float, default=1.0, metavar="F", help="calibrator's flux over its table value"
    )
    parser.add_argument(
        "--smearing",
        action="store_true",
        help="average within channels and integrations, as the correlator does and as --size full does always",
    )


def add_defect_options(parser: ArgumentParser) -> None:
    """Add the options of defects in the data."""
    parser.add_argument("--gain-phase-deg", type=float, metavar="DEG", help="rms phase change since the calibrator")
    parser.add_argument("--gain-amplitude", type=float, metavar="F", help="rms fractional amplitude change")
    parser.add_argument("--gain-slope-deg", type=float, metavar="DEG", help="rms phase drift from start to end of tile")
    for option, field, read, form, text in _DEFECT_OPTIONS:
        parser.add_argument(option, action="append", default=[], dest=field, type=read, metavar=form, help=text)
    parser.add_argument(
        "--defects-in", choices=("target", "calibrator", "all"), default="target", help="default: %(default)s"
    )


def specs_of(options: Mapping[str, Any]) -> list[TileSpec]:
    """Return the tiles that the options describe, the calibrator's first.

    Raises:
        ValueError: options contradict each other, or a defect lies outside its tile.
    """
    size, now = SIZES[options["size"]], options["before"] or datetime.now(UTC)
    if options["hour"]:
        if any(options[name] is not None for name in ("target_ra_deg", "sources", "flux_jy", "snr")):
            raise ValueError("--hour has a sky of its own: leave out --target-ra-deg, --sources, --flux-jy and --snr")
        if options["calibrator_factor"] != 1.0:
            raise ValueError("--calibrator-factor is not for --hour")
        specs = hour_tiles(now, size)
    else:
        specs = tile_pair(now, size, calibrator_factor=options["calibrator_factor"])
        if options["target_ra_deg"] is not None:
            specs[1] = moved_to(specs[1], options["target_ra_deg"], specs[0].start_time)
        if any(options[name] is not None for name in ("target_ra_deg", "sources", "flux_jy", "snr")):
            specs[1] = _with_field(specs[1], options, size.n_sources)
    specs = [_varied(spec, options) for spec in specs]
    for spec in specs:
        scale_of(spec, pick_stations(spec.n_antennas))
    return specs


def _with_field(spec: TileSpec, options: Mapping[str, Any], n_sources: int) -> TileSpec:
    if options["snr"] and options["flux_jy"]:
        raise ValueError("--flux-jy and --snr exclude each other")
    snr = tuple(options["snr"]) if options["snr"] else None
    field = FieldSpec(
        count=options["sources"] or n_sources,
        flux_jy=None if snr else tuple(options["flux_jy"] or DEFAULT_FLUX_JY),
        snr=snr,
        radius_deg=options["radius_deg"],
        apart_deg=options["apart_deg"],
        seed=options["field_seed"],
    )
    return dataclasses.replace(spec, sources=field_of(spec, field, thermal_rms_jy=thermal_rms_jy(spec)))


def _varied(spec: TileSpec, options: Mapping[str, Any]) -> TileSpec:
    changes: dict[str, Any] = {"gains": spec.gains}
    if options["smearing"]:
        changes["smearing"] = SmearingSpec()
    if options["seed"] is not None:
        changes["seed"] = spec.seed + 1000 * (options["seed"] + 1)
        changes["gains"] = dataclasses.replace(spec.gains, seed=spec.gains.seed + 1000 * (options["seed"] + 1))
    if options["defects_in"] in (spec.kind, "all"):
        drifts = {
            "drift_phase_deg": options["gain_phase_deg"],
            "drift_amplitude": options["gain_amplitude"],
            "slope_phase_deg": options["gain_slope_deg"],
        }
        given = {name: value for name, value in drifts.items() if value is not None}
        changes["gains"] = dataclasses.replace(changes["gains"], **given)
        changes["defects"] = Defects(**{kind.name: tuple(options[kind.name]) for kind in dataclasses.fields(Defects)})
    return dataclasses.replace(spec, **changes)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _reader(kind: Callable[..., Any], n_required: int, **parts: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a function that reads a defect from its parts between colons, of which the first `n_required` must be."""

    def read(text: str) -> Any:
        words = text.split(":")
        try:
            if not n_required <= len(words) <= len(parts):
                raise ValueError(text)
            return kind(**{name: part(word) for (name, part), word in zip(parts.items(), words, strict=False)})
        except ValueError as fault:
            raise ArgumentTypeError(f"{text!r} does not have the form shown in --help") from fault

    return read


def _polarization(text: str) -> Polarization:
    if text not in POLARIZATIONS:
        raise ValueError(text)
    return text  # type: ignore[return-value]


def _antenna(kind: Literal["noise", "zero"]) -> Callable[[str], Any]:
    return _reader(functools.partial(AntennaFault, kind=kind), 1, station=int, polarization=_polarization)


_DEFECT_OPTIONS = (
    (
        "--burst",
        "bursts",
        _reader(Burst, 3, time_index=int, subband=int, noise_multiple=float),
        "TIME:SUBBAND:N",
        "interference of N times the noise in one integration of one subband",
    ),
    (
        "--carrier",
        "carriers",
        _reader(Carrier, 3, subband=int, channel=int, noise_multiple=float),
        "SUBBAND:CHANNEL:N",
        "interference of N times the noise in one channel",
    ),
    ("--noise-only", "antennas", _antenna("noise"), "STATION[:XX|YY]", "an antenna without signal"),
    ("--dead", "antennas", _antenna("zero"), "STATION[:XX|YY]", "an antenna that delivers zeros"),
    (
        "--weak",
        "weak",
        _reader(WeakIntegration, 2, time_index=int, factor=float),
        "TIME:FACTOR",
        "an integration too weak by a factor below 1",
    ),
    (
        "--lost",
        "lost",
        _reader(LostSamples, 2, time_index=int, subband=int),
        "TIME:SUBBAND",
        "an integration of a subband with nsamples 0",
    ),
    (
        "--roll-off",
        "roll_off",
        _reader(RollOff, 2, channels=int, response=float),
        "CHANNELS:RESPONSE",
        "edges of subbands that pass less of the sky, not of the noise",
    ),
)
"""Option, field of `Defects`, reader, form and help."""
