"""Fields of sources around a pointing."""

from __future__ import annotations

import numpy as np

from pipeline_app.simulation.geometry import pointing_icrs_deg
from pipeline_app.simulation.spec import FieldSpec, Source, TileSpec
from pipeline_app.telescope import REFERENCE_FREQ_HZ, power_beam

_MAX_DRAWS = 100_000


def scatter(
    field: FieldSpec,
    centre_deg: tuple[float, float],
    *,
    avoid: tuple[Source, ...] = (),
    thermal_rms_jy: float | None = None,
    prefix: str = "S",
) -> tuple[Source, ...]:
    """Scatter the sources of a field.

    Args:
        field: how many, how bright, how far out.
        centre_deg: ICRS right ascension and declination of the pointing at mid-tile.
        avoid: sources to keep `apart_deg` away from.
        thermal_rms_jy: noise of the tile, needed when `field.snr` is given.
        prefix: names are this and a number.

    Raises:
        ValueError: the field has no space for this number of sources, or fluxes by SNR are wanted of noiseless data.
    """
    rng = np.random.default_rng(field.seed)
    ra0_deg, dec0_deg = centre_deg
    places: list[tuple[float, float]] = [
        (((s.ra_deg - ra0_deg + 180) % 360 - 180) * float(np.cos(np.radians(s.dec_deg))), s.dec_deg - dec0_deg)
        for s in avoid
    ]
    n_avoided = len(places)
    for _ in range(_MAX_DRAWS):
        if len(places) == n_avoided + field.count:
            break
        x, y = rng.uniform(-field.radius_deg, field.radius_deg, 2)
        if np.hypot(x, y) <= field.radius_deg and all(np.hypot(x - a, y - b) >= field.apart_deg for a, b in places):
            places.append((float(x), float(y)))
    else:
        raise ValueError(f"{field.count} sources {field.apart_deg}° apart do not fit within {field.radius_deg}°")
    values = rng.permutation(np.geomspace(*(field.flux_jy or field.snr or (0.0, 0.0)), field.count))
    alphas = rng.uniform(-0.9, -0.5, field.count)
    sources = []
    for index, ((x, y), value, alpha) in enumerate(zip(places[n_avoided:], values, alphas, strict=True)):
        flux_jy = round(float(value), 4)
        if field.snr is not None:
            flux_jy = round(float(value) * _noise_at(float(np.hypot(x, y)), thermal_rms_jy), 7)
        sources.append(
            Source(
                name=f"{prefix}{index + 1:02d}",
                ra_deg=float((ra0_deg + x / np.cos(np.radians(dec0_deg + y))) % 360),
                dec_deg=float(dec0_deg + y),
                flux_jy=flux_jy,
                alpha=round(float(alpha), 2),
            )
        )
    return tuple(sources)


def field_of(
    spec: TileSpec, field: FieldSpec, *, thermal_rms_jy: float, avoid: tuple[Source, ...] = ()
) -> tuple[Source, ...]:
    """Scatter a field around the middle of a tile."""
    centre_deg = pointing_icrs_deg(spec.declination_deg, spec.mid_time)
    return scatter(field, centre_deg, avoid=avoid, thermal_rms_jy=thermal_rms_jy)


def _noise_at(offset_deg: float, thermal_rms_jy: float | None) -> float:
    if not thermal_rms_jy:
        raise ValueError("fluxes by signal to noise need a tile with noise")
    return thermal_rms_jy / float(power_beam(offset_deg, REFERENCE_FREQ_HZ))
