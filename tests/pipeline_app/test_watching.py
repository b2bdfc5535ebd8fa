from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from pipeline_app.calibration_choice import mjd_of
from pipeline_app.calibrators import calibrator
from pipeline_app.ingest.register import ingest_directory
from pipeline_app.ingest.watch import Watcher, WatchOptions
from pipeline_app.models import Calibration, Observation, SubbandFile
from pipeline_app.simulation.geometry import transit_before
from tasks_app.models import Run, Task
from tasks_app.testing import frozen_clock
from tests.pipeline_app.tiles import START, copy_tile, make_raw_tile

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


BEFORE_TRANSIT = -timedelta(minutes=25)


@pytest.fixture(scope="module")
def transit() -> datetime:
    known = calibrator("3C454.3")
    return transit_before(known.ra_deg, known.dec_deg, START)


@pytest.fixture(scope="module")
def bright(tmp_path_factory, transit) -> list[Path]:
    return make_raw_tile(tmp_path_factory.mktemp("bright"), start=transit - timedelta(seconds=155), kind="calibrator")


@pytest.fixture
def calibrated_before(transit) -> str:
    """The path of a calibration of the strip from some hours before the transit."""
    path = "/data/before"
    Calibration.objects.create(
        task_id=Run().run_id, path=path, telescope_name="OVRO_MMA", mid_mjd=mjd_of(transit) - 0.1,
        declination_deg=16.1, verdict="pass",
    )  # fmt: skip
    return path


@pytest.fixture
def incoming(tmp_path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


def watcher(directory: Path, **options: object) -> tuple[Watcher, list[str]]:
    lines: list[str] = []
    return Watcher(directory=directory, options=WatchOptions(**options), report=lines.append), lines


def scan_twice(watch: Watcher) -> int:
    """A file is read at the second scan that finds it unchanged."""
    return watch.scan_once() + watch.scan_once()


def test_it_starts_a_calibrators_tile_once_it_is_whole(bright, incoming):
    watch, lines = watcher(incoming)
    copy_tile(bright[:15], incoming)
    assert scan_twice(watch) == 0 and not Run.objects.exists()
    copy_tile(bright[15:], incoming)
    assert scan_twice(watch) == 1
    assert scan_twice(watch) == 0
    run = Run.objects.get()
    assert (run.label, run.params["role"], len(run.params["paths"])) == (
        Observation.objects.get().name,
        "calibrator",
        16,
    )
    assert any("3C454.3 arrives with" in line for line in lines)


def test_it_waits_for_a_file_that_still_grows(bright, incoming):
    watch, _ = watcher(incoming)
    content = bright[0].read_bytes()
    growing = incoming / bright[0].name
    for size in (1000, 2000, len(content)):
        growing.write_bytes(content[:size])
        watch.scan_once()
    assert not SubbandFile.objects.exists()
    watch.scan_once()
    assert SubbandFile.objects.get().state == "accepted"


def test_it_takes_no_notice_of_unfinished_files(bright, incoming):
    watch, _ = watcher(incoming)
    (copy,) = copy_tile(bright[:1], incoming)
    unfinished = copy.rename(copy.with_name(copy.stem + "_incomplete.hdf5"))
    scan_twice(watch)
    assert not SubbandFile.objects.exists()
    unfinished.rename(copy)
    scan_twice(watch)
    assert SubbandFile.objects.get().path == str(copy)


def test_a_target_waits_visibly_and_starts_when_its_calibrator_comes(bright, incoming):
    watch, lines = watcher(incoming)
    copy_tile(bright, incoming / "target", later=HOUR)
    assert scan_twice(watch) == 0
    target = Observation.objects.get()
    assert target.state == "waiting" and "waiting for a calibrator" in target.reason
    copy_tile(bright, incoming / "calibrator")
    assert scan_twice(watch) == 2
    target.refresh_from_db()
    assert (target.state, target.role, target.reason) == ("started", "target", "")
    apply = Task.objects.get(run__run_id=target.run_id, stage="calibrate-target")
    solve = Task.objects.get(stage="calibration-solve")
    assert apply.bindings["calibration_path"]["task_id"] == str(solve.task_id)
    assert sum("waiting for a calibrator" in line for line in lines) == 1


def test_a_target_waits_for_a_calibrator_that_is_due_but_not_for_ever(bright, incoming, transit, calibrated_before):
    """The clock of the database is put to the time of the observation: old data wait for nothing."""
    watch, lines = watcher(incoming)
    copy_tile(bright, incoming / "target", later=BEFORE_TRANSIT)
    with frozen_clock(transit + BEFORE_TRANSIT + timedelta(minutes=5)):
        assert scan_twice(watch) == 0
    target = Observation.objects.get()
    assert target.state == "waiting" and "waiting for the calibrator 3C454.3" in target.reason
    with frozen_clock(transit + timedelta(minutes=20)):
        assert watch.scan_once() == 1
    target.refresh_from_db()
    assert (target.state, target.role) == ("started", "target")
    assert Task.objects.get(stage="calibrate-target").params["calibration_path"] == calibrated_before
    assert any("waiting for the calibrator 3C454.3" in line for line in lines)


def test_a_target_that_waited_is_interpolated_with_the_calibrator_that_came(
    bright, incoming, transit, calibrated_before
):
    watch, _ = watcher(incoming)
    with frozen_clock(transit + timedelta(minutes=6)):
        copy_tile(bright, incoming / "target", later=BEFORE_TRANSIT)
        assert scan_twice(watch) == 0
        copy_tile(bright, incoming / "calibrator")
        assert scan_twice(watch) == 2
    calibrate = Task.objects.get(stage="calibrate-target", run__params__role="target")
    solve = Task.objects.get(stage="calibration-solve")
    assert calibrate.bindings["calibration_path"]["task_id"] == str(solve.task_id)
    assert calibrate.params["other_calibration_path"] == calibrated_before


def test_a_subband_that_arrives_after_the_start_is_reported(bright, incoming):
    watch, lines = watcher(incoming, quiet_sec=0.0)
    copy_tile(bright[:15], incoming)
    scan_twice(watch)
    call_command("absurd_ingest", release=Observation.objects.get().name)
    watch.scan_once()
    copy_tile(bright[15:], incoming)
    assert scan_twice(watch) == 0
    assert Run.objects.count() == 1
    assert any("after the run of its tile had started" in line for line in lines)


def test_an_incomplete_tile_starts_after_its_release(bright, incoming):
    watch, lines = watcher(incoming, quiet_sec=0.0)
    copy_tile(bright[:12], incoming)
    scan_twice(watch)
    observation = Observation.objects.get()
    assert observation.state == "incomplete" and any("12 of 16" in line for line in lines)
    call_command("absurd_ingest", release=observation.name)
    assert watch.scan_once() == 1
    assert len(Run.objects.get().params["paths"]) == 12


def test_catalogue_and_params_beside_the_files_are_used(bright, incoming):
    (incoming / "catalog.csv").write_text("name,ra_deg,dec_deg\nA,343.5,16.1\n")
    (incoming / "night").mkdir()
    (incoming / "night" / "processing.json").write_text(json.dumps({"imaging": {"niter": 77}}))
    copy_tile(bright, incoming / "night")
    watch, _ = watcher(incoming)
    scan_twice(watch)
    assert Task.objects.get(stage="photometry").params["positions"][0]["name"] == "A"
    assert Task.objects.get(stage="imaging").params["niter"] == 77


def test_a_bad_catalogue_is_reported_once_and_the_tile_starts_when_it_is_removed(bright, incoming):
    (incoming / "catalog.csv").write_text("name,ra_deg,dec_deg\nA,400,16.1\n")
    copy_tile(bright, incoming)
    watch, lines = watcher(incoming)
    assert scan_twice(watch) + watch.scan_once() == 0
    assert sum("line 2" in line for line in lines) == 1
    assert "line 2" in Observation.objects.get().reason
    (incoming / "catalog.csv").unlink()
    assert watch.scan_once() == 1


def test_a_tile_from_elsewhere_is_left_to_the_program_that_registered_it(bright, incoming, tmp_path):
    copy_tile(bright, tmp_path / "incoming-not")
    ingest_directory(tmp_path / "incoming-not")
    watch, _ = watcher(incoming)
    assert scan_twice(watch) == 0


def test_a_restarted_watcher_reads_and_starts_nothing_again(bright, incoming, monkeypatch):
    watch, _ = watcher(incoming)
    copy_tile(bright, incoming)
    scan_twice(watch)
    fresh, _ = watcher(incoming)
    fresh.load_known()
    monkeypatch.setattr("pipeline_app.ingest.watch.register", lambda path: pytest.fail(f"{path} was read again"))
    assert scan_twice(fresh) == 0


@pytest.mark.django_db(transaction=True)
def test_two_watchers_start_a_tile_once(bright, incoming):
    copy_tile(bright, incoming)
    errors: list[BaseException] = []
    barrier = threading.Barrier(2)

    def run() -> None:
        try:
            watch, _ = watcher(incoming)
            for _ in range(3):
                barrier.wait(timeout=30)
                watch.scan_once()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (Run.objects.count(), Task.objects.filter(stage="convert-uvh5-to-ms").count()) == (1, 1)


def test_one_pass_over_a_directory_starts_its_tiles(bright, incoming, capsys):
    copy_tile(bright, incoming)
    call_command("absurd_ingest", str(incoming))
    assert Run.objects.get().created_by.startswith("cli:")
    assert str(Run.objects.get().run_id) in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "code"), [(["/nowhere"], 2), ([], 2), (["--release", "2026-01-01T00:00:00"], 3)])
def test_bad_usage_ends_with_its_exit_code(arguments, code):
    with pytest.raises(CommandError) as caught:
        call_command("absurd_ingest", *arguments)
    assert caught.value.returncode == code
