"""What is named when raw data are odd, and gains between two calibrations; `streamed` says why tiles are so."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline_app.simulation import TileTruth, simulate_tile
from tasks_app.engine.handler import InvalidInput
from tests.pipeline_app.streamed import SOURCE_JY, read_back, run_stage, spec_of, true_calibration

pytestmark = pytest.mark.casa


def raw_tile(directory: Path, **changes: object) -> tuple[TileTruth, list[Path]]:
    truth = simulate_tile(directory / "raw", spec_of(**changes))
    return truth, [directory / "raw" / name for name in truth.files]


def odd_files(files: list[Path]) -> None:
    """Put one kind of oddity into each of four files."""
    with h5py.File(files[0], "r+") as file:
        data = file["Data/visdata"][()]
        cross = np.flatnonzero(file["Header/ant_1_array"][()] != file["Header/ant_2_array"][()])
        data[cross[:50], 0, 3, 0], data[cross[50:80], 0, 7, 1] = np.nan, np.inf
        file["Data/visdata"][...] = data
    with h5py.File(files[1], "r+") as file:
        file["Data/flags"][...] = True
    with h5py.File(files[2], "r+") as file:
        for name in ("visdata", "flags", "nsamples"):
            _replace(file, f"Data/{name}", file[f"Data/{name}"][:, :, 8:])
        _replace(file, "Header/freq_array", file["Header/freq_array"][..., 8:])
        file["Header/Nfreqs"][...] = 40
    with h5py.File(files[3], "r+") as file:
        times_jd, samples = file["Header/time_array"][()], file["Data/nsamples"][()]
        samples[np.isin(times_jd, np.unique(times_jd)[:6])] = 0
        file["Data/nsamples"][...] = samples


def _replace(file: h5py.File, name: str, values: np.ndarray) -> None:
    del file[name]
    file[name] = values


def expected_reasons(files: list[Path]) -> list[str]:
    names = [path.name for path in files]
    return [
        "missing subbands, flagged: 0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        f"narrower subbands, missing channels flagged: {names[2]} has 40 of 48 channels",
        f"1 subbands wholly flagged in the raw files: {names[1]}",
        f"1 subbands partly flagged in the raw files or without samples: {names[3]} 25%",
        f"80 visibilities not finite or absurdly large, flagged, in {names[0]}",
    ]


def test_what_was_dropped_is_named_with_its_amount(tmp_path: Path) -> None:
    truth, files = raw_tile(tmp_path)
    odd_files(files)
    result = run_stage(files, true_calibration(truth, tmp_path / "true.cal"), tmp_path / "out")
    assert set(expected_reasons(files)) <= set(result.reasons)
    assert result.flag_counts.n_nonfinite_or_wild == 80
    assert result.flag_counts.input_fraction == pytest.approx((1 + 0.25) / 4)
    assert result.verdict == "warn"


def test_conversion_names_the_same_with_the_same_message(tmp_path: Path) -> None:
    from pipeline_app.casa import convert
    from pipeline_app.stages.convert import ConvertParams
    from tasks_app.testing import LocalContext

    _, files = raw_tile(tmp_path, n_antennas=8)
    odd_files(files)
    context = LocalContext(tmp_path / "out")
    result = convert.run(ConvertParams(paths=[str(path) for path in files], name="tile"), context)
    assert (result.verdict, result.reasons) == ("warn", expected_reasons(files))
    assert result.nonfinite_or_wild_flagged == 80
    (product,) = context.products
    assert (product.verdict, product.metrics["reasons"]) == ("warn", result.reasons)
    assert result.flagged_fraction == pytest.approx(1 - (48 + 40 + 36 - 80 / (36 * 24 * 2)) / 768, rel=1e-4)


def test_antennas_without_data_count_in_no_fraction(tmp_path: Path) -> None:
    """11 of 28 antennas of a real file have no data; here 6 of 24, by nsamples 0 where a buffer holds noise."""
    truth, files = raw_tile(tmp_path, subbands=(5,))
    lost = [3, 5, 8, 9, 11, 12]
    with h5py.File(files[0], "r+") as file:
        names = [int(name) for name in truth.antenna_names]
        numbers = [names[index] - 1 for index in lost]
        without = np.isin(file["Header/ant_1_array"][()], numbers) | np.isin(file["Header/ant_2_array"][()], numbers)
        samples = file["Data/nsamples"][()]
        samples[without] = 0
        file["Data/nsamples"][...] = samples
    result = run_stage(files, true_calibration(truth, tmp_path / "true.cal"), tmp_path / "out")
    assert result.antennas_without_data == [truth.antenna_names[index] for index in lost]
    assert result.flagged_fraction < 0.001
    assert result.flag_counts.input_fraction == 0
    tile = read_back(tmp_path / "out" / "products" / "tile.calibrated.ms", truth, result)
    source = truth.sources[0]
    assert tile.towards(source.ra_deg, source.dec_deg).real == pytest.approx(SOURCE_JY, rel=0.04)


def test_gains_are_interpolated_between_two_calibrations(tmp_path: Path) -> None:
    """Phases that drift by 50 degrees rms, amplitudes by 20 %, from one calibration to the next, a third of the way."""
    truth, files = raw_tile(tmp_path, subbands=(5,), sefd_jy=600.0)
    rng = np.random.default_rng(3)
    change = rng.normal(0, 0.2, (24, 2, 1)) + 1j * np.radians(rng.normal(0, 50, (24, 2, 1)))
    gains, hours = truth.gains, 1 / 24
    truth.gains[...] = gains * np.exp(-change / 3)
    before = true_calibration(truth, tmp_path / "before.cal", mid_time_mjd=truth.mid_time_mjd - hours)
    truth.gains[...] = truth.gains * np.exp(change) * np.exp(0.7j)  # the phase of all antennas is that of the reference
    after = true_calibration(truth, tmp_path / "after.cal", mid_time_mjd=truth.mid_time_mjd + 2 * hours)
    source = truth.sources[0]
    fluxes = []
    for name, other in (("one", None), ("two", str(after))):
        result = run_stage(files, before, tmp_path / name, other_calibration_path=other)
        tile = read_back(tmp_path / name / "products" / "tile.calibrated.ms", truth, result)
        fluxes.append(tile.towards(source.ra_deg, source.dec_deg).real)
    assert abs(fluxes[0] / SOURCE_JY - 1) > 0.05
    assert fluxes[1] == pytest.approx(SOURCE_JY, rel=0.01)
    assert result.calibration_fraction == pytest.approx(1 / 3, abs=1e-3)
    assert result.calibration_phase_change_deg == pytest.approx(50, rel=0.25)
    assert result.other_calibration_path == str(after)


def test_a_refused_calibration_of_two_is_left_out_and_named(tmp_path: Path) -> None:
    """A target that waited for a calibrator must not be lost when that calibrator's solve is refused."""
    truth, files = raw_tile(tmp_path, subbands=(5,), n_antennas=8, channels_per_subband=4, n_times=4)
    good = true_calibration(truth, tmp_path / "good.cal")
    refused = true_calibration(truth, tmp_path / "refused.cal")
    record = refused / "calibration.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"verdict": "fail", "reasons": ["no signal"]}))
    result = run_stage(files, good, tmp_path / "out", other_calibration_path=str(refused))
    assert result.verdict == "warn"
    assert any("left out" in reason and "no signal" in reason for reason in result.reasons)
    with pytest.raises(InvalidInput, match="no signal"):
        run_stage(files, refused, tmp_path / "both", other_calibration_path=str(refused))


def test_conversion_flags_what_has_no_samples(tmp_path: Path) -> None:
    from pipeline_app.casa import convert
    from pipeline_app.casa.measurement_set import open_table
    from pipeline_app.stages.convert import ConvertParams
    from tasks_app.testing import LocalContext

    _, files = raw_tile(tmp_path, subbands=(5,), n_antennas=4, channels_per_subband=2, n_times=4)
    with h5py.File(files[0], "r+") as file:
        late = file["Header/time_array"][()] == file["Header/time_array"][()].max()
        samples = file["Data/nsamples"][()]
        samples[late], samples[~late] = 0, -1.2e12
        file["Data/nsamples"][...] = samples
    convert.run(ConvertParams(paths=[str(files[0])], name="tile"), LocalContext(tmp_path / "out"))
    with open_table(tmp_path / "out" / "products" / "tile.ms") as main:
        flag, times = main.getcol("FLAG").any(axis=-1), main.getcol("TIME")
    held = ~flag.all(axis=0)
    assert held.sum() == 2
    assert flag[times == times.max()].all() and not flag[times < times.max()][:, held].any()
