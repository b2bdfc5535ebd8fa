"""Inputs are never written to: the kernel refuses it, and what it could not refuse is seen afterwards."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_app.simulation import TINY, simulate_tile, tile_pair
from tasks_app.models import Task
from tests.pipeline_app.reduced_tile import digest
from tests.workers.live import attempts, finished, outcomes, spawn_one
from workers.process import confine

pytestmark = pytest.mark.chaos

needs_landlock = pytest.mark.skipif(not confine.abi(), reason="the kernel has no Landlock")


@pytest.fixture
def given(workers) -> Path:
    """Return a file among the data."""
    path: Path = workers.data / "published" / "image.fits"
    path.parent.mkdir()
    path.write_text("pixels")
    return path


@needs_landlock
def test_an_attempt_cannot_write_into_its_input(workers, given):
    before = given.stat().st_mtime_ns
    task = spawn_one("overwrite-input", {"path": str(given)}, max_retries=0)
    logged = workers.burst()
    task.refresh_from_db()
    assert (task.status, outcomes(task)) == ("failed", ["error"])
    assert str(given) in task.error and confine.HINT in task.error
    assert given.stat().st_mtime_ns == before
    assert "confined=yes" in logged


def test_an_attempt_that_wrote_into_its_input_has_failed_and_is_not_tried_again(workers, given):
    task = spawn_one("overwrite-input", {"path": str(given)}, max_retries=3)
    logged = workers.burst("--no-confine")
    task.refresh_from_db()
    assert (task.status, task.retry_count, outcomes(task)) == ("failed", 0, ["error"])
    assert f"{given} was written to" in task.error and "retry the task" in task.error
    assert "confined=no" in logged


@pytest.mark.casa
def test_the_stages_work_in_their_own_directories_and_leave_their_inputs_as_they_were(workers, settings):
    settings.ABSURD_DATA_ROOTS = (workers.data,)
    spec, _ = tile_pair(datetime(2026, 11, 24, 2, 0, tzinfo=UTC), TINY)
    truth = simulate_tile(workers.data / "raw", spec)
    raw = sorted(map(str, (workers.data / "raw").rglob("*.hdf5")))
    looks: dict[str, object] = {}

    def stage(name: str, **params: Any) -> dict[str, Any]:
        found = done(spawn_one(name, params, max_retries=0))
        for path in (found.get("ms_path"), found.get("calibration_path")):
            if path is not None:
                looks.setdefault(path, digest(Path(path)))
        return found

    def done(task: Task) -> dict[str, Any]:
        assert finished(task, 150).status == "completed", f"{task.error}\n{attempts(task)[0].log_tail}"
        return task.result

    workers.start()
    converted = stage("convert-uvh5-to-ms", paths=raw)
    solved = stage("calibration-solve", ms_path=converted["ms_path"])
    applied = stage("calibration-apply", ms_path=converted["ms_path"], calibration_path=solved["calibration_path"])
    imaged = stage("imaging", ms_path=applied["ms_path"], imsize_pix=256, cell_arcsec=20.0, niter=50)
    source = truth.sources[0]
    position = {"name": source.name, "ra_deg": source.ra_deg, "dec_deg": source.dec_deg}
    stage("photometry", positions=[position], **{n: imaged[n] for n in ("image_path", "flat_image_path", "pb_path")})
    assert {path: digest(Path(path)) for path in map(str, looks)} == looks
    assert len(looks) == 3


@needs_landlock
@pytest.mark.parametrize(
    ("act", "refused"),
    [
        pytest.param("open('own/x', 'w').close()", False, id="own"),
        pytest.param("open('/dev/null', 'w').close()", False, id="device"),
        pytest.param(
            "os.mkdir('own/d'); open('own/d/f', 'w').close(); os.rename('own/d/f', 'own/f')", False, id="move"
        ),
        pytest.param("open('log', 'a').write('more')", False, id="log"),
        pytest.param("open('data/in').read()", False, id="read"),
        pytest.param("open('data/in', 'a')", True, id="append"),
        pytest.param("os.truncate('data/in', 0)", True, id="truncate"),
        pytest.param("os.unlink('data/in')", True, id="unlink"),
        pytest.param("os.rename('data/in', 'own/in')", True, id="take"),
        pytest.param("os.link('data/in', 'own/in')", True, id="link"),
        pytest.param("open('data/new', 'w')", True, id="new"),
        pytest.param("os.symlink('../data/in', 'own/s'); open('own/s', 'a')", True, id="through a link"),
        pytest.param("subprocess.run(['touch', 'data/new'], check=True)", True, id="by a program"),
    ],
)
def test_only_what_is_its_own_can_be_changed(tmp_path, act, refused):
    for name in ("own", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "in").write_text("input")
    (tmp_path / "log").touch()
    pid = os.posix_spawn(
        "/proc/self/exe",
        [
            "python",
            "-c",
            f"import os, subprocess\nfrom workers.process import confine\nos.chdir({str(tmp_path)!r})\n"
            "confine.enter(['own', 'log', '/dev', 'not-there'])\n"
            f"try:\n    {act}\nexcept (OSError, subprocess.CalledProcessError):\n    os._exit(3)\n",
        ],
        os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == (3 if refused else 0)
    assert (tmp_path / "data" / "in").read_text() == "input"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["in"]


def test_common_places_are_closed_where_data_lie_in_them(tmp_path):
    own = [tmp_path / "own"]
    assert "/tmp" not in confine.places(own, [Path("/tmp/data")])
    assert set(confine.places(own, [Path("/stage")])) == {str(tmp_path / "own"), *confine.COMMON}
