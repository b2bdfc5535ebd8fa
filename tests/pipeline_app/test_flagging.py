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


def test_data_are_averaged_only_as_far_as_smearing_allows(reduced: Reduced) -> None:
    from pipeline_app.casa import measurement_set
    from pipeline_app.casa.smearing import bandwidth_smearing, channels_to_average, longest_baseline_m

    width_hz = 244_140.625
    info = dataclasses.replace(
        measurement_set.read_info(reduced.target_ms),
        freqs_hz=1.311e9 + width_hz * np.arange(768),
        channel_width_hz=width_hz,
    )
    count, loss = channels_to_average(info, max_smearing=0.005)
    assert 1 < count < 16
    assert loss <= 0.005
    larger = min(n for n in range(count + 1, 769) if 768 % n == 0)
    baseline_m = longest_baseline_m(info)
    assert bandwidth_smearing(width_hz=larger * width_hz, offset_deg=1.35, baseline_m=baseline_m) > 0.005
    assert channels_to_average(info, max_smearing=0.0) == (1, 0.0)


def test_channels_across_a_gap_are_not_averaged(reduced: Reduced) -> None:
    from pipeline_app.casa import measurement_set
    from pipeline_app.casa.smearing import channels_to_average

    freqs_hz = 1.4e9 + 1e4 * np.array([0, 1, 2, 3, 500, 501, 502, 503])
    info = dataclasses.replace(measurement_set.read_info(reduced.target_ms), freqs_hz=freqs_hz, channel_width_hz=1e4)
    assert channels_to_average(info, max_smearing=0.1)[0] == 4


def test_smearing_is_the_sinc_of_the_turns_across_a_channel() -> None:
    from pipeline_app.casa.smearing import bandwidth_smearing

    # 299.792458 m and sin(30°): half a turn in 1 MHz, 1 - 2/pi lost
    loss = bandwidth_smearing(width_hz=1e6, offset_deg=30.0, baseline_m=299.792458)
    assert loss == pytest.approx(1 - 2 / np.pi)
