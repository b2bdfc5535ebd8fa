from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline_app.telescope import angular_separation_deg
from tests.pipeline_app.reduced_tile import Reduced

pytestmark = pytest.mark.casa


def pointed(ms: Path, directory: Path, *, directions_deg: np.ndarray | None = None, rows: bool = True):
    """Return the description of a copy whose POINTING table has these directions, or no rows."""
    from pipeline_app.casa import measurement_set

    measurement_set.copy_tree(ms, directory / "copy.ms")
    with measurement_set.open_table(directory / "copy.ms" / "POINTING", write=True) as table:
        if not rows:
            table.removerows(range(table.nrows()))
        elif directions_deg is not None:
            table.putcol("DIRECTION", np.tile(np.radians(directions_deg), (table.nrows(), 1, 1)))
    return measurement_set.read_info(directory / "copy.ms")


def test_the_pointing_table_and_the_meridian_agree_on_a_drift_tile(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa.measurement_set import read_info
    from pipeline_app.casa.pointing import beam_track

    recorded, assumed = (
        beam_track(read_info(reduced.target_ms)),
        beam_track(pointed(reduced.target_ms, tmp_path, rows=False)),
    )
    assert recorded.drifting and assumed.drifting
    assert recorded.declination_deg == pytest.approx(assumed.declination_deg, abs=1e-3)
    apart_deg = angular_separation_deg(recorded.ra_deg, recorded.dec_deg, assumed.ra_deg, assumed.dec_deg)
    assert apart_deg.max() * 3600 < 2.0


def test_a_tile_tracked_across_the_meridian_does_not_drift(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa.measurement_set import read_info
    from pipeline_app.casa.pointing import beam_track

    info = read_info(reduced.target_ms)
    centre = np.array([info.phase_ra_deg, info.phase_dec_deg])
    track = beam_track(pointed(reduced.target_ms, tmp_path, directions_deg=centre))
    assert not track.drifting
    assert track.drift_deg < 1e-6


def test_a_drift_tile_phased_off_the_meridian_still_drifts(reduced: Reduced) -> None:
    from pipeline_app.casa.measurement_set import read_info
    from pipeline_app.casa.pointing import beam_track

    info = read_info(reduced.target_ms)
    elsewhere = dataclasses.replace(info, phase_ra_deg=(info.phase_ra_deg + 2.0) % 360)
    track, at_home = beam_track(elsewhere), beam_track(info)
    assert track.drifting
    assert np.array_equal(track.ra_deg, at_home.ra_deg)
