"""Where the dishes pointed while a Measurement Set was taken, and with which beam they saw a source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units
from astropy.coordinates import TETE, EarthLocation, SkyCoord
from astropy.time import Time
from numpy.typing import ArrayLike, NDArray

from pipeline_app import telescope
from pipeline_app.casa.measurement_set import SECONDS_PER_DAY, MeasurementSetInfo, open_table

MAX_MERIDIAN_HOUR_ANGLE_DEG = 0.5
"""Without a POINTING table, a phase centre within this of the meridian at mid-time is a drift tile's."""
MAX_OFFSET_DEG = 5.0
"""A POINTING table that is further from the phase centre holds something else."""


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
        return float(self.ra_deg[len(self.ra_deg) // 2])

    @property
    def mid_dec_deg(self) -> float:
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
    """Return where the dishes pointed at each integration, by the POINTING table.

    Without a usable table a phase centre near the meridian at mid-time is taken for the pointing of a drifting
    telescope, so that the beam is at (local sidereal time, that declination) throughout, and one off the meridian for
    that of a telescope that tracked it.
    """
    position = info.antenna_positions_m[np.any(info.antenna_positions_m != 0, axis=1)].mean(axis=0)
    location = EarthLocation.from_geocentric(*position, unit=units.m)
    middle = Time(info.mid_time_mjd, format="mjd", scale="utc", location=location)
    frame = TETE(obstime=middle, location=location)
    recorded = _recorded_directions(info)
    if recorded is None:
        apparent = SkyCoord(info.phase_ra_deg, info.phase_dec_deg, unit="deg", frame="icrs").transform_to(frame)
        declination_deg = float(apparent.dec.deg)
        hour_angle_deg = (middle.sidereal_time("apparent").deg - apparent.ra.deg + 180.0) % 360.0 - 180.0
        drifting = abs(hour_angle_deg) < MAX_MERIDIAN_HOUR_ANGLE_DEG
        ra_deg, dec_deg = _meridian_or_centre(info, location, declination_deg, drifting=drifting)
    else:
        ra_deg, dec_deg = recorded
        mid = SkyCoord(ra_deg, dec_deg, unit="deg", frame="icrs")[len(ra_deg) // 2]
        declination_deg = float(mid.transform_to(frame).dec.deg)
        drifting = _moves_with_the_sky(info, ra_deg, dec_deg)
    return BeamTrack(
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        declination_deg=declination_deg,
        drifting=drifting,
        freq_factor=info.beam_freq_factor,
    )


def _meridian_or_centre(
    info: MeasurementSetInfo, location: EarthLocation, declination_deg: float, *, drifting: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the directions, ICRS, of a beam that stays on the meridian, or that follows the phase centre."""
    n_times = len(info.times_mjd)
    if not drifting:
        return np.full(n_times, info.phase_ra_deg), np.full(n_times, info.phase_dec_deg)
    times = Time(info.times_mjd, format="mjd", scale="utc", location=location)
    frame = TETE(obstime=times, location=location)
    beam = SkyCoord(times.sidereal_time("apparent"), np.full(n_times, declination_deg) * units.deg, frame=frame).icrs
    return np.atleast_1d(beam.ra.deg), np.atleast_1d(beam.dec.deg)


def _recorded_directions(info: MeasurementSetInfo) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return (ra, dec) of the POINTING table at each integration, degrees ICRS; None where it cannot be meant."""
    try:
        with open_table(info.path / "POINTING") as pointing:
            if pointing.nrows() == 0:
                return None
            reference = pointing.getcolkeywords("DIRECTION").get("MEASINFO", {}).get("Ref", "")
            antenna = pointing.getcol("ANTENNA_ID")
            mine = antenna == antenna.min()
            times_mjd = pointing.getcol("TIME")[mine] / SECONDS_PER_DAY
            directions = np.degrees(pointing.getcol("DIRECTION")[mine].reshape(len(times_mjd), -1)[:, :2])
    except RuntimeError:  # no such table, or cells without a value
        return None
    nearest = np.abs(times_mjd[:, None] - info.times_mjd).argmin(axis=0)
    late_sec = np.abs(times_mjd[nearest] - info.times_mjd) * SECONDS_PER_DAY
    ra_deg, dec_deg = directions[nearest].T
    off_deg = telescope.angular_separation_deg(ra_deg, dec_deg, info.phase_ra_deg, info.phase_dec_deg)
    if reference not in ("ICRS", "J2000") or late_sec.max() > info.integration_sec or off_deg.max() > MAX_OFFSET_DEG:
        return None
    return ra_deg % 360.0, dec_deg


def _moves_with_the_sky(info: MeasurementSetInfo, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> bool:
    """Whether the direction moves by at least half of what the sky does over the dishes."""
    moved_deg = float(telescope.angular_separation_deg(ra_deg[0], dec_deg[0], ra_deg[-1], dec_deg[-1]))
    span_sec = float(np.ptp(info.times_mjd)) * SECONDS_PER_DAY
    sky_deg = span_sec * telescope.SIDEREAL_RATE_DEG_PER_SEC * float(np.cos(np.radians(dec_deg[0])))
    return moved_deg > 0.5 * sky_deg > 0
