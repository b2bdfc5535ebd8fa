"""Where the dishes pointed while a Measurement Set was taken, and with which beam they saw a source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units
from astropy.coordinates import TETE, EarthLocation, SkyCoord
from astropy.time import Time
from numpy.typing import ArrayLike, NDArray

from pipeline_app import telescope
from pipeline_app.casa.measurement_set import MeasurementSetInfo

MAX_MERIDIAN_HOUR_ANGLE_DEG = 0.5
"""A phase centre within this of the meridian at mid-time is a drift tile's; any other was tracked."""


@dataclass(frozen=True, kw_only=True)
class BeamTrack:
    """ICRS direction of the beam at every integration."""

    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    declination_deg: float
    """Apparent declination of the pointing at mid-time: the strip."""
    drifting: bool
    freq_factor: float
    """See `MeasurementSetInfo.beam_freq_factor`."""

    @property
    def mid_ra_deg(self) -> float:
        """Right ascension at mid-time."""
        return float(self.ra_deg[len(self.ra_deg) // 2])

    @property
    def mid_dec_deg(self) -> float:
        """ICRS declination at mid-time."""
        return float(self.dec_deg[len(self.dec_deg) // 2])

    @property
    def drift_deg(self) -> float:
        """How far the beam moved over the sky."""
        ends = self.ra_deg[[0, -1]], self.dec_deg[[0, -1]]
        return float(telescope.angular_separation_deg(ends[0][0], ends[1][0], ends[0][1], ends[1][1]))

    def response(self, ra_deg: ArrayLike, dec_deg: ArrayLike, freqs_hz: ArrayLike) -> NDArray[np.float64]:
        """Return the power beam towards ICRS directions, shape (*directions, n_times, n_freqs)."""
        ra = np.asarray(ra_deg, dtype=float)[..., None]
        dec = np.asarray(dec_deg, dtype=float)[..., None]
        offsets = telescope.angular_separation_deg(ra, dec, self.ra_deg, self.dec_deg)
        return telescope.power_beam(offsets[..., None], np.asarray(freqs_hz, dtype=float) * self.freq_factor)


def beam_track(info: MeasurementSetInfo) -> BeamTrack:
    """Tell where the dishes pointed.

    A tile of the drifting telescope is phased to its own pointing at mid-time (hour angle 0), so the beam is at (local
    sidereal time, that declination) throughout. A phase centre off the meridian belongs to a telescope that tracked it.
    """
    position = info.antenna_positions_m[np.any(info.antenna_positions_m != 0, axis=1)].mean(axis=0)
    location = EarthLocation.from_geocentric(*position, unit=units.m)
    times = Time(info.times_mjd, format="mjd", scale="utc", location=location)
    middle = Time(info.mid_time_mjd, format="mjd", scale="utc", location=location)
    centre = SkyCoord(info.phase_ra_deg, info.phase_dec_deg, unit="deg", frame="icrs")
    apparent = centre.transform_to(TETE(obstime=middle, location=location))
    hour_angle_deg = (middle.sidereal_time("apparent").deg - apparent.ra.deg + 180.0) % 360.0 - 180.0
    declination_deg = float(apparent.dec.deg)
    drifting = abs(hour_angle_deg) < MAX_MERIDIAN_HOUR_ANGLE_DEG
    if drifting:
        frame = TETE(obstime=times, location=location)
        beam = SkyCoord(
            times.sidereal_time("apparent"), np.full(len(times), declination_deg) * units.deg, frame=frame
        ).icrs
        ra_deg, dec_deg = np.atleast_1d(beam.ra.deg), np.atleast_1d(beam.dec.deg)
    else:
        ra_deg = np.full(len(info.times_mjd), info.phase_ra_deg)
        dec_deg = np.full(len(info.times_mjd), info.phase_dec_deg)
    return BeamTrack(
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        declination_deg=declination_deg,
        drifting=drifting,
        freq_factor=info.beam_freq_factor,
    )
