from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline_app.reduced_tile import Reduced

pytestmark = pytest.mark.casa


def test_a_strong_source_off_centre_is_not_taken_for_interference(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa import measurement_set
    from pipeline_app.casa.flagging import flag_bad_data

    measurement_set.copy_tree(reduced.calibrator_ms, tmp_path / "copy.ms")
    report = flag_bad_data(measurement_set.read_info(tmp_path / "copy.ms"))
    assert report.after < 1e-3


def test_interference_and_impossible_values_are_flagged_and_nothing_else(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa import measurement_set
    from pipeline_app.casa.flagging import flag_bad_data

    measurement_set.copy_tree(reduced.calibrator_ms, tmp_path / "copy.ms")
    info = measurement_set.read_info(tmp_path / "copy.ms")
    rows = next(measurement_set.iter_rows(info))
    data = rows.columns["DATA"]
    first, second, third = np.flatnonzero(rows.cross)[:3]
    data[rows.cross, 7] += 40.0
    data[first, 2, 0], data[second, 2, 1], data[third, 2, 0] = 1e32, np.nan, 0.0
    measurement_set.put_column(info.path, "DATA", 0, data)
    flag_bad_data(info)
    flag = next(measurement_set.iter_rows(info, ())).flag
    assert flag[rows.cross, 7].mean() > 0.99
    assert flag[first, 2, 0] and flag[second, 2, 1] and flag[third, 2, 0]
    assert flag[~rows.cross].all()
    others = np.delete(flag[rows.cross], 7, axis=1)
    assert others.sum() <= 3 + 1e-3 * others.size


def test_channels_across_a_gap_are_not_averaged(reduced: Reduced) -> None:
    from pipeline_app.casa import measurement_set
    from pipeline_app.casa.smearing import channels_to_average

    freqs_hz = 1.4e9 + 1e4 * np.array([0, 1, 2, 3, 500, 501, 502, 503])
    info = dataclasses.replace(measurement_set.read_info(reduced.target_ms), freqs_hz=freqs_hz, channel_width_hz=1e4)
    assert channels_to_average(info, max_smearing=0.1).channels == 4
