"""What lands in a directory besides good files: each costs itself at most, and is named with the reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline_app.ingest.register import Ingested, ingest_directory
from pipeline_app.ingest.watch import Watcher, WatchOptions
from pipeline_app.models import Observation, SubbandFile
from tests.pipeline_app.tiles import copy_tile, make_raw_tile

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> list[Path]:
    return make_raw_tile(tmp_path_factory.mktemp("original"), n_antennas=3, channels_per_subband=4)


@pytest.fixture
def files(original, tmp_path) -> list[Path]:
    return copy_tile(original, tmp_path / "raw")


def replace(file: h5py.File, name: str, value: object) -> None:
    del file[name]
    file[name] = value


def assign(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: replace(file, name, value)


def scale(name: str, factor: float) -> Callable[[h5py.File], None]:
    return lambda file: replace(file, name, file[name][()] * factor)


def remove(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def poke(name: str, index: object, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        values = file[name][()]
        values[index] = value
        file[name][...] = values

    return change


REQUIRED = (
    *("instrument", "history", "antenna_names", "antenna_numbers", "antenna_positions", "latitude", "Nants_data"),
    *("uvw_array", "spw_array", "channel_width", "polarization_array", "integration_time", "Nspws", "phase_type"),
)
REFUSED: list[tuple[str, Callable[[h5py.File], None], str]] = [
    *((f"without {name}", remove(f"Header/{name}"), f"lacks {name}") for name in REQUIRED),
    ("zero times", scale("Header/time_array", 0.0), "Earth's rotation is known"),
    ("times of the far future", scale("Header/time_array", 2.0), "Earth's rotation is known"),
    ("times beyond all dates", scale("Header/time_array", 1e290), "e+296; the Earth's rotation is known"),
    ("a time that is no number", poke("Header/time_array", 0, np.nan), "time_array holds values that are not finite"),
    ("doubled integration", scale("Header/integration_time", 2.0), "times are 154"),
    ("negative integration", scale("Header/integration_time", -1.0), "integration_time"),
    ("text for times", assign("Header/time_array", np.bytes_("now")), "time_array are not numbers"),
    ("huge frequencies", scale("Header/freq_array", 1e30), "freq_array"),
    ("uneven channels", poke("Header/freq_array", (0, 1), 1.4e9), "not evenly spaced"),
    ("the wrong number of rows", assign("Header/Nblts", 7), "Nblts is 7"),
    ("the wrong number of channels", assign("Header/Nfreqs", 7), "Nfreqs is 7"),
    (
        "short antenna list",
        lambda file: replace(file, "Header/antenna_names", file["Header/antenna_names"][:3]),
        "3 entries",
    ),
    ("an antenna nobody knows", poke("Header/ant_1_array", 0, 999), "antenna 999"),
    ("a baseline twice", poke("Header/ant_2_array", 1, 0), "twice at the same time"),
    ("a position that is no number", poke("Header/antenna_positions", 0, np.inf), "antenna_positions holds"),
    ("an impossible declination", assign("Header/extra_keywords/phase_center_dec", 7.0), "not within -90"),
    ("declinations a degree apart", assign("Header/phase_center_app_dec", np.radians(17.1)), "contradicts itself"),
    ("an hour angle", assign("Header/extra_keywords/ha_phase_center", 0.01), "ha_phase_center is 0.01"),
    ("real visibilities", lambda file: replace(file, "Data/visdata", file["Data/visdata"][()].real), "not complex"),
    ("a long telescope name", assign("Header/telescope_name", np.bytes_("X" * 65)), "telescope_name must be"),
    (
        "a telescope name with a line break",
        assign("Header/telescope_name", np.bytes_("A\nB")),
        "telescope_name must be",
    ),
    ("a telescope name that is not UTF-8", assign("Header/telescope_name", np.bytes_(b"\xff\xfe")), "not UTF-8"),
    ("header is a dataset", lambda file: replace(file, "Header", 5), "not a readable UVH5 file"),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_odd_header_costs_its_file_only(files, tmp_path, change, message):
    with h5py.File(files[7], "r+") as file:
        change(file)
    found = ingest_directory(tmp_path)
    assert [tile.n_subbands for tile in found.tiles] == [15]
    (problem,) = found.problems
    assert problem.path == str(files[7]) and message in problem.problem
    assert SubbandFile.objects.get(path=str(files[7])).state == "invalid"


MISFITS: list[tuple[str, Callable[[h5py.File], None], str]] = [
    ("swapped hands", assign("Header/polarization_array", np.array([-6, -5])), "polarisations YY,XX, not XX,YY"),
    ("another antenna name", poke("Header/antenna_names", 5, b"X"), "antenna 5 is called 'X', not '6'"),
    ("a moved antenna", poke("Header/antenna_positions", (5, 0), 1.0), "antenna 5 is"),
    ("another place", assign("Header/longitude", -118.0), "another position of the array"),
    (
        "a declination of its own",
        lambda file: [
            replace(file, f"Header/{key}", np.radians(16.11))
            for key in ("phase_center_app_dec", "extra_keywords/phase_center_dec")
        ],
        "pointing to declination 16.11",
    ),
    ("shifted channels", lambda file: replace(file, "Header/freq_array", file["Header/freq_array"][()] + 6e5), "grid"),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in MISFITS], ids=[row[0] for row in MISFITS])
@pytest.mark.parametrize("which", [0, 9], ids=["the first to come", "a later one"])
def test_a_file_unlike_the_others_of_its_tile_costs_itself_only(files, tmp_path, change, message, which):
    with h5py.File(files[which], "r+") as file:
        change(file)
    found = ingest_directory(tmp_path)
    assert [tile.n_subbands for tile in found.tiles] == [15]
    (problem,) = found.problems
    assert problem.path == str(files[which])
    assert message in problem.problem and "does not fit the 15 other files" in problem.problem
    assert found.tiles[0].observation.declination_deg == pytest.approx(16.1)
    assert found.tiles[0].observation.missing_subbands() == [which]


def average_channels(file: h5py.File) -> None:
    freqs_hz = file["Header/freq_array"][()]
    replace(file, "Header/freq_array", freqs_hz.reshape(1, -1, 2).mean(axis=2))
    scale("Header/channel_width", 2.0)(file)
    replace(file, "Header/Nfreqs", freqs_hz.size // 2)
    for name in ("visdata", "flags", "nsamples"):
        replace(file, f"Data/{name}", file[f"Data/{name}"][:, :, ::2])


def average_times(file: h5py.File) -> None:
    n_rows = int(file["Header/Nblts"][()])
    times_jd = file["Header/time_array"][()]
    for name in ("ant_1_array", "ant_2_array", "uvw_array", "integration_time"):
        replace(file, f"Header/{name}", file[f"Header/{name}"][: n_rows // 2])
    scale("Header/integration_time", 2.0)(file)
    replace(file, "Header/time_array", np.full(n_rows // 2, times_jd.mean()))
    replace(file, "Header/Nblts", n_rows // 2)
    for name in ("visdata", "flags", "nsamples"):
        replace(file, f"Data/{name}", file[f"Data/{name}"][: n_rows // 2])


COPIES: dict[str, Callable[[h5py.File], None]] = {
    "1 Hz off": lambda file: replace(file, "Header/freq_array", file["Header/freq_array"][()] + 1.0),
    "in single precision": lambda file: replace(file, "Header/freq_array", file["Header/freq_array"][()].astype("f4")),
    "averaged in frequency": average_channels,
    "averaged in time": average_times,
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("folder", ["a-before", "z-after"])
def test_of_two_copies_of_a_subband_the_better_is_used(files, tmp_path, change, folder):
    (copy,) = copy_tile([files[3]], tmp_path / folder)
    with h5py.File(copy, "r+") as file:
        change(file)
    found = ingest_directory(tmp_path)
    assert [tile.n_subbands for tile in found.tiles] == [16]
    assert str(files[3]) in found.tiles[0].paths and str(copy) not in found.tiles[0].paths
    assert [problem.path for problem in found.problems] == [str(copy)]
    assert found.tiles[0].observation.state == "ready"


def test_a_worse_copy_is_used_where_there_is_no_better_one(files, tmp_path):
    with h5py.File(files[3], "r+") as file:
        COPIES["in single precision"](file)
    found = ingest_directory(tmp_path)
    assert (found.tiles[0].n_subbands, found.problems) == (16, [])


def test_files_that_came_after_the_start_of_the_run_change_nothing_of_what_it_uses(files, tmp_path):
    with h5py.File(files[3], "r+") as file:
        COPIES["in single precision"](file)
    used = ingest_directory(tmp_path / "raw").tiles[0]
    Observation.objects.update(run_id="00000000-0000-0000-0000-000000000001")
    (better,) = copy_tile([files[4]], tmp_path / "late")
    watch = Watcher(directory=tmp_path / "late", options=WatchOptions(), report=lambda line: None)
    watch.scan_once()
    watch.scan_once()
    assert SubbandFile.objects.get(path=str(better)).state == "duplicate"
    assert set(SubbandFile.objects.filter(state="accepted").values_list("path", flat=True)) == set(used.paths)


def other_telescope(file: h5py.File, *, name: str) -> None:
    replace(file, "Header/telescope_name", np.bytes_(name))
    for key in ("extra_keywords", "phase_center_app_dec"):
        del file[f"Header/{key}"]


def as_hera(file: h5py.File) -> None:
    """Drifting, pointed to the zenith, without a word of a declination."""
    other_telescope(file, name="HERA")


def as_mwa(file: h5py.File) -> None:
    """Phased to a direction, one channel width a channel, no axis of spectral windows."""
    other_telescope(file, name="MWA")
    replace(file, "Header/phase_type", np.bytes_("phased"))
    for key, value in (("ra", 0.3), ("dec", 0.28), ("epoch", 2000.0)):
        file[f"Header/phase_center_{key}"] = value
    file["Header/phase_center_frame"] = np.bytes_("icrs")
    replace(file, "Header/freq_array", file["Header/freq_array"][0])
    replace(file, "Header/channel_width", np.full(4, float(file["Header/channel_width"][()])))
    for name in ("visdata", "flags", "nsamples"):
        replace(file, f"Data/{name}", file[f"Data/{name}"][:, 0])


@pytest.mark.parametrize(("change", "declination_deg"), [(as_hera, 37.23339), (as_mwa, np.degrees(0.28))])
def test_files_of_other_telescopes_are_accepted_and_converted(files, tmp_path, change, declination_deg):
    from pipeline_app.casa import convert
    from pipeline_app.stages.convert import ConvertParams
    from tasks_app.testing import LocalContext

    for path in files[:2]:
        with h5py.File(path, "r+") as file:
            change(file)
    for path in files[2:]:
        path.unlink()
    found = ingest_directory(tmp_path)
    assert found.problems == []
    assert found.tiles[0].observation.declination_deg == pytest.approx(declination_deg)
    result = convert.run(ConvertParams(paths=list(found.tiles[0].paths)), LocalContext(tmp_path / "out"))
    observation = found.tiles[0].observation
    assert result.phase_ra_deg == pytest.approx(observation.ra_deg, abs=1e-3)
    assert result.phase_dec_deg == pytest.approx(observation.dec_deg, abs=1e-3)


def test_what_passes_the_ingest_is_converted_whichever_key_names_the_declination(files, tmp_path):
    from pipeline_app.casa import convert
    from pipeline_app.stages.convert import ConvertParams
    from tasks_app.testing import LocalContext

    for path in files:
        with h5py.File(path, "r+") as file:
            del file["Header/extra_keywords/phase_center_dec"]
    (tile,) = ingest_directory(tmp_path).tiles
    result = convert.run(ConvertParams(paths=list(tile.paths)), LocalContext(tmp_path / "out"))
    assert result.declination_deg == pytest.approx(16.1)


def test_convert_refuses_what_does_not_fit_with_the_same_message(files, tmp_path):
    from pipeline_app.casa.raw import plan_spectrum, read_header
    from tasks_app.engine.handler import InvalidInput

    with h5py.File(files[9], "r+") as file:
        poke("Header/antenna_positions", (5, 0), 1.0)(file)
    with pytest.raises(InvalidInput, match=r"antenna 5 is .* m from where"):
        plan_spectrum([read_header(path) for path in files])


def lay_traps(directory: Path) -> dict[str, str]:
    """Put names and kinds of files into a directory that once ended the ingest; return a word on each."""
    content = (directory / "good.hdf5").read_bytes()
    (directory / "link").symlink_to(directory.parent)
    (directory / "x_incomplete.hdf5").write_bytes(content)
    Path(os.fsdecode(os.fsencode(directory) + b"/2026_sb00\xff.hdf5")).write_bytes(content)
    (directory / "nowhere.hdf5").symlink_to(directory / "gone")
    (directory / "loop.hdf5").symlink_to(directory / "loop.hdf5")
    os.mkfifo(directory / "pipe.hdf5")
    deep = directory.joinpath(*["d" * 200] * 5)
    deep.mkdir(parents=True)
    (deep / "deep.hdf5").write_bytes(content)
    return {
        "link": "a symbolic link to a folder",
        "x_incomplete.hdf5": "still being written",
        "2026_sb00": "not UTF-8",
        "nowhere.hdf5": "a symbolic link without a target",
        "pipe.hdf5": "not a regular file",
        "loop.hdf5": "cannot be read",
        "deep.hdf5": "more than 1000",
    }


def test_names_and_kinds_that_cannot_be_used_are_reported_with_the_reason(files, tmp_path):
    files[0].rename(tmp_path / "raw" / "good.hdf5")
    expected = lay_traps(tmp_path / "raw")
    found = ingest_directory(tmp_path / "raw")
    assert [tile.n_subbands for tile in found.tiles] == [16]
    for name, word in expected.items():
        (problem,) = [each for each in found.problems if name in each.path]
        assert word in problem.problem


def locked(path: Path) -> subprocess.Popen[str]:
    """Hold a file open for writing in another process."""
    program = f"import h5py, sys; file = h5py.File({str(path)!r}, 'r+'); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "open\n"
    return holder


def test_a_locked_file_is_reported_once_and_read_when_it_is_free(files, tmp_path):
    lines: list[str] = []
    watch = Watcher(directory=tmp_path / "raw", options=WatchOptions(), report=lines.append)
    with locked(files[0]) as holder:
        (problem,) = ingest_directory(tmp_path / "raw").problems
        assert problem.path == str(files[0])
        assert "file lock" in problem.problem
        for _ in range(3):
            watch.scan_once()
        holder.communicate()
    assert sum("file lock" in line for line in lines) == 1
    watch.scan_once()
    watch.scan_once()
    assert SubbandFile.objects.get(path=str(files[0])).state == "accepted"


def test_the_watcher_reports_each_trap_once_and_starts_the_tile(files, tmp_path):
    files[0].rename(tmp_path / "raw" / "good.hdf5")
    expected = lay_traps(tmp_path / "raw")
    lines: list[str] = []
    watch = Watcher(directory=tmp_path / "raw", options=WatchOptions(), report=lines.append)
    for _ in range(3):
        watch.scan_once()
    assert Observation.objects.get().state in ("ready", "waiting", "started")
    del expected["x_incomplete.hdf5"]
    for name, word in expected.items():
        assert sum(name in line and word in line for line in lines) == 1, name


def test_a_file_that_vanishes_while_it_is_read_is_no_more_than_a_problem(files, tmp_path, monkeypatch):
    real = Path.resolve

    def vanish(path: Path, *args: object) -> Path:
        found = real(path, *args)
        if path.name == files[5].name:
            files[5].unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "resolve", vanish)
    found: Ingested = ingest_directory(tmp_path / "raw")
    assert [tile.n_subbands for tile in found.tiles] == [15]
    assert [(problem.path, problem.problem) for problem in found.problems] == [(str(files[5]), "it is gone")]


@pytest.mark.django_db(transaction=True)
def test_absurd_process_reports_the_traps_of_a_directory_without_a_usable_file(files, tmp_path, live_environment):
    for path in files[1:]:
        path.unlink()
    with h5py.File(files[0], "r+") as file:
        scale("Header/time_array", 0.0)(file)
    files[0].rename(tmp_path / "raw" / "good.hdf5")
    expected = lay_traps(tmp_path / "raw")
    done = subprocess.run(
        [sys.executable, "manage.py", "absurd_process", str(tmp_path / "raw"), "--json", str(tmp_path / "report.json")],
        cwd=ROOT, env=live_environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    report = json.loads((tmp_path / "report.json").read_text())
    listed = {problem["path"]: problem["problem"] for problem in report["problems"]}
    for name in [*expected, "good.hdf5"]:
        assert sum(name in path for path in listed) == 1, name
