from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_app import telescope

pytestmark = pytest.mark.casa

ROOT = Path(__file__).parents[2]

_IN_A_STRANGERS_PROCESS = """
import json, socket, sys
def refuse(*arguments, **named):
    raise AssertionError("reached for the network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import pipeline_app.casa
from pipeline_app.casa import runtime
from pathlib import Path
import casatasks, casatools
from casatasks import casalog
from pipeline_app.casa_log import severe_lines
quiet = severe_lines(runtime.log_path())
measure = casatools.measures()
def posting_and_returning():
    casalog.post("something broke", "SEVERE", "posting")
def complaint(task, **arguments):
    try:
        runtime.checked(task, **arguments)
    except runtime.CasaError as error:
        return str(error)
runtime.log_to(Path("elsewhere.log"))
report = {
    "argv": sys.argv[1:],
    "severe": quiet,
    "positions": [measure.observatory(name) for name in ("OVRO_MMA", "DSA-110")],
    "silent_failure": complaint(posting_and_returning),
    "raised": complaint(casatasks.listobs, vis="/nothing.ms"),
    "returned_false": complaint(lambda: False),
    "afterwards": runtime.checked(lambda: 7),
    "listening": runtime.listening(),
    "moved": "something broke" in Path("elsewhere.log").read_text(),
}
sys.stdout.write("REPORT" + json.dumps(report))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What CASA did in a process with a hostile command line, an empty home and a directory of its own."""
    directory = tmp_path_factory.mktemp("process")
    home = tmp_path_factory.mktemp("home")
    (directory / "gunicorn.conf.py").write_text("open('executed', 'w')\n")
    (home / ".casa").mkdir()
    (home / ".casa" / "config.py").write_text("open('executed', 'w')\n")
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_STRANGERS_PROCESS, "--config", "gunicorn.conf.py", "--no"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    left = sorted(path.name for path in directory.iterdir())
    home_left = sorted(path.name for path in (home / ".casa").iterdir())
    return json.loads(done.stdout.partition("REPORT")[2]) | {"left": left, "home_left": home_left}


def test_casa_does_not_read_the_command_line_nor_the_home_directory(report):
    assert report["argv"] == ["--config", "gunicorn.conf.py", "--no"]
    assert "executed" not in report["left"]


def test_casa_leaves_nothing_behind(report):
    assert report["left"] == ["elsewhere.log", "gunicorn.conf.py"]
    assert report["home_left"] == ["config.py"]


def test_casa_starts_offline_without_an_error(report):
    assert report["severe"] == []


def test_casa_knows_the_one_position_of_the_array(report):
    for position in report["positions"]:
        assert position["refer"] == "WGS84"
        assert np.degrees(position["m0"]["value"]) == pytest.approx(telescope.LONGITUDE_DEG, abs=1e-9)
        assert np.degrees(position["m1"]["value"]) == pytest.approx(telescope.LATITUDE_DEG, abs=1e-9)
        assert position["m2"]["value"] == pytest.approx(telescope.HEIGHT_M)


def test_a_task_that_logs_severe_and_returns_is_a_failure(report):
    assert "something broke" in report["silent_failure"]
    assert "/nothing.ms" in report["raised"]
    assert "returned False" in report["returned_false"]


def test_an_earlier_severe_line_is_not_held_against_the_next_task(report):
    assert report["afterwards"] == 7


def test_the_log_can_be_moved(report):
    assert report["moved"]


def test_it_refuses_a_process_in_which_casa_is_loaded_already():
    program = "import casaconfig\nimport pipeline_app.casa"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "before pipeline_app.casa could configure it" in done.stderr


def test_measures_are_built_once_by_many_processes_at_once(tmp_path):
    cache = tmp_path / "casa-data"
    cache.mkdir()
    (cache / ".building-killed").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ABSURD_CASA_DATA": str(cache)}
    command = [sys.executable, "-m", "pipeline_app.casa"]
    racers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    output = {racer.communicate(timeout=120)[0].strip() for racer in racers}
    assert len(output) == 1
    built = Path(output.pop())
    assert [path for path in cache.iterdir() if path.name != ".lock"] == [built]
    assert (built / "geodetic" / "TAI_UTC" / "table.dat").is_file()


def test_other_inputs_or_another_quarter_make_other_measures(monkeypatch):
    from pipeline_app.casa import measures

    november, december, january = (
        datetime(*when, tzinfo=UTC) for when in ((2026, 11, 24), (2026, 12, 1), (2027, 1, 1))
    )
    assert measures.stamp(november) == measures.stamp(december)
    assert measures.stamp(november) != measures.stamp(january)
    before = measures.stamp(november)
    monkeypatch.setattr(measures, "version", lambda package: "99")
    assert measures.stamp(november) != before


def test_measures_lie_in_the_state_directory_unless_another_is_given(monkeypatch):
    from pipeline_app.casa import measures

    monkeypatch.setenv("ABSURD_VAR", "/state")
    monkeypatch.delenv("ABSURD_CASA_DATA", raising=False)
    assert measures.default_cache() == Path("/state/casa-data")
    monkeypatch.setenv("ABSURD_CASA_DATA", "/elsewhere")
    assert measures.default_cache() == Path("/elsewhere")


@pytest.fixture(scope="module")
def measures_dir() -> Path:
    """The measures that this session's CASA uses."""
    from pipeline_app.casa import measures

    return measures.prepare(measures.default_cache()) / "geodetic"


def test_earth_orientation_reaches_beyond_today_and_agrees_with_astropy(measures_dir):
    from astropy.time import Time
    from casacore import tables

    with tables.table(str(measures_dir / "IERSpredict2000"), ack=False) as predictions:
        mjd, dut1_sec = predictions.getcol("MJD"), predictions.getcol("dUT1")
        x_arcsec = predictions.getcol("x")
    today = Time(datetime.now(UTC)).mjd
    assert mjd[-1] > today + 30
    assert (np.diff(mjd) == 1).all()
    days = mjd[-200:]
    assert dut1_sec[-200:] == pytest.approx(Time(days, format="mjd", scale="utc").delta_ut1_utc, abs=2e-3)
    assert np.abs(x_arcsec[-200:]).max() < 0.6
    with tables.table(str(measures_dir / "IERSeop2000"), ack=False) as measured:
        assert (np.diff(measured.getcol("MJD")) == 1).all()
        assert measured.getcol("MJD")[-1] <= today


def test_nutation_offsets_of_the_old_theory_match_published_ones():
    """Against the IERS C04 series in the python-casacore wheel, which someone else computed."""
    import casacore
    from casacore import tables

    from pipeline_app.casa.measures import read_earth_orientation

    shipped = Path(casacore.__file__).parent / "data" / "geodetic" / "IERSeop97"
    with tables.table(str(shipped), ack=False) as series:
        published = {name: series.getcol(name)[-1500:] for name in ("MJD", "dPsi", "dEps")}
    ours = read_earth_orientation()
    shared = np.isin(ours.mjd, published["MJD"])
    assert shared.sum() == 1500
    assert ours.columns["dPsi"][shared] == pytest.approx(published["dPsi"], abs=1e-3)
    assert ours.columns["dEps"][shared] == pytest.approx(published["dEps"], abs=1e-3)
    assert np.abs(published["dPsi"]).min() > 0.1, "so that agreement means something"


def test_leap_seconds_are_dated_today_only_while_the_list_is_valid(tmp_path):
    import casacore
    from casacore import tables

    from pipeline_app.casa import measures

    source = Path(casacore.__file__).parent / "data" / "geodetic" / "TAI_UTC"
    with tables.table(str(source), ack=False) as shipped:
        shipped_date = shipped.getkeyword("VS_DATE")
        shipped.copy(str(tmp_path / "TAI_UTC"), deep=True).close()
    with pytest.warns(measures.LeapSecondsExpired, match="update astropy-iers-data"):
        measures._renew_leap_seconds(tmp_path, datetime(2099, 1, 1, tzinfo=UTC))
    assert _date(tmp_path) == shipped_date
    measures._renew_leap_seconds(tmp_path, datetime(2026, 11, 24, 2, 3, tzinfo=UTC))
    assert _date(tmp_path) == "2026/11/24/02:03"


def _date(directory: Path) -> str:
    from casacore import tables

    with tables.table(str(directory / "TAI_UTC"), ack=False) as table:
        return str(table.getkeyword("VS_DATE"))


def test_it_listens_on_no_port(report):
    assert report["listening"] == []
