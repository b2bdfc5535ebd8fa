from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_app.calibration_choice import MIN_APPARENT_FLUX_JY, due_calibrator, plan_set, plan_single
from pipeline_app.calibrators import calibrator
from pipeline_app.ingest.register import Tile
from pipeline_app.models import Calibration, Observation, ObservationState, SubbandFile
from pipeline_app.stages.photometry import IMAGE_FIELDS, Position
from pipeline_app.workflows import AlreadyStarted, Options, Plan, positions_for, start
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.errors import ParamsInvalid
from tasks_app.models import Run, Task, TaskDependency

pytestmark = pytest.mark.django_db
SOURCE = Position(name="S01", ra_deg=10.0, dec_deg=16.0, flux_jy=0.5)
CATALOG = Options(catalog=(SOURCE,))
CALIBRATOR_STAGES = [
    "convert-uvh5-to-ms",
    "calibration-solve",
    "calibrate-target",
    "imaging",
    "validation",
    "photometry",
]
TARGET_STAGES = ["calibrate-target", "imaging", "self-calibration", "validation", "photometry"]


def make_tile(name: str, *, mid_mjd: float = 61314.25, flux_jy: float | None = None, declination_deg=16.1) -> Tile:
    observation = Observation.objects.create(
        name=name,
        telescope_name="OVRO_MMA",
        first_time_ms=int(mid_mjd * 86_400_000),
        declination_cdeg=round(declination_deg * 100),
        start_mjd=mid_mjd - 0.0018,
        mid_mjd=mid_mjd,
        duration_sec=309.2,
        declination_deg=declination_deg,
        ra_deg=10.0,
        dec_deg=declination_deg,
        directory="/somewhere",
        expected_subbands=16,
        state=ObservationState.READY,
        calibrator="3C454.3" if flux_jy else "",
        calibrator_apparent_flux_jy=flux_jy,
    )
    paths = tuple(f"/somewhere/{name}_sb{number:02d}.hdf5" for number in range(2))
    for number, path in enumerate(paths):
        SubbandFile.objects.create(
            observation=observation, path=path, freq_min_hz=number, size_bytes=1, mtime_ns=1, state="accepted"
        )
    return Tile(observation=observation, paths=paths)


def stages_of(tile: Tile) -> list[Task]:
    tile.observation.refresh_from_db()
    return list(Task.objects.filter(run__run_id=tile.observation.run_id).order_by("id"))


def parents_of(task: Task) -> list[str]:
    parents = TaskDependency.objects.filter(child_task_id=task.task_id).values("parent_task_id")
    return sorted(Task.objects.filter(task_id__in=parents).values_list("task_name", "run__label"))


def test_the_calibrators_tile_is_solved_and_its_solution_bound_to_both():
    bright, target = make_tile("bright", flux_jy=12.0), make_tile("target", mid_mjd=61314.3)
    start(plan_set([target, bright]), CATALOG, actor="cli:test")
    solved, tied = stages_of(bright), stages_of(target)
    assert [task.stage for task in solved] == CALIBRATOR_STAGES
    assert [task.stage for task in tied] == TARGET_STAGES
    assert {task.priority for task in solved} == {10} and {task.priority for task in tied} == {5}
    solve = solved[1]
    for calibrate in (solved[2], tied[0]):
        assert calibrate.bindings["calibration_path"] == {"task_id": str(solve.task_id), "field": "calibration_path"}
    assert parents_of(tied[0]) == [("calibration-solve", "bright")]
    assert parents_of(tied[1]) == [("calibrate-target", "target")]
    assert set(tied[1].bindings) == {"ms_path"}
    again, validation, photometry = tied[2:]
    assert set(again.bindings) == {"ms_path", *IMAGE_FIELDS}
    assert set(validation.bindings) == {"self_calibration_path", *IMAGE_FIELDS}
    assert set(photometry.bindings) == {"validation_path", *IMAGE_FIELDS}
    assert all(task.bindings["image_path"]["task_id"] == str(again.task_id) for task in (validation, photometry))
    assert photometry.bindings["validation_path"] == {"task_id": str(validation.task_id), "field": "record_path"}
    assert validation.params["positions"] == photometry.params["positions"] == [SOURCE.model_dump()]
    assert [task.display_status for task in tied] == ["waiting"] * len(tied)
    assert tied[0].params == {"paths": list(target.paths), "name": "target"}
    assert (target.observation.state, target.observation.role) == ("started", "target")


def test_each_strip_and_each_day_has_a_calibrator_of_its_own():
    near = [make_tile("n1", flux_jy=1.0), make_tile("n2", mid_mjd=61314.4, flux_jy=2.0)]
    other_strip = make_tile("o1", declination_deg=54.6)
    next_week = make_tile("w1", mid_mjd=61321.0, flux_jy=1.0)
    plans = {plan.tile.observation.name: plan for plan in plan_set([*near, other_strip, next_week])}
    assert {name for name, plan in plans.items() if plan.role == "calibrator"} == {"n2", "o1", "w1"}
    assert plans["n1"].solve_task_id == plans["n2"].solve_task_id
    assert plans["n1"].other_solve_task_id is None


def test_a_set_interpolates_between_its_calibrators_as_the_ingest_does():
    """The same tiles, once as a set and once one by one: each target gets the same calibrations."""
    places = {"before": 61314.18, "early": 61314.2, "target": 61314.25, "late": 61314.27, "after": 61314.28}
    tiles = {
        name: make_tile(name, mid_mjd=mjd, flux_jy=12.0 if name in ("early", "late") else None)
        for name, mjd in places.items()
    }
    plans = {plan.tile.observation.name: plan for plan in plan_set(list(tiles.values()))}
    assert {name for name, plan in plans.items() if plan.role == "calibrator"} == {"early", "late"}
    solves = {name: plans[name].solve_task_id for name in ("early", "late")}
    expected = {
        "before": (solves["early"], None),
        "target": (solves["late"], solves["early"]),
        "after": (solves["late"], None),
    }
    for name, calibrations in expected.items():
        assert (plans[name].solve_task_id, plans[name].other_solve_task_id) == calibrations, name
    start([plans["early"], plans["late"]], Options(), actor="cli:test")
    for name in expected:
        single = plan_single(tiles[name])
        assert (single.solve_task_id, single.other_solve_task_id) == expected[name], name


def test_stage_params_reach_their_stage_and_bad_ones_spawn_nothing():
    tile = make_tile("bright", flux_jy=12.0)
    start([Plan.calibrator(tile)], Options(stage_params={"imaging": {"imsize_pix": 256}}), actor="cli:test")
    assert stages_of(tile)[3].params["imsize_pix"] == 256
    target = make_tile("target", mid_mjd=61314.3)
    plan = Plan(tile=target, role="target", calibration_path="/data/cal")
    start([plan], Options(stage_params={"imaging": {"imsize_pix": 256}}), actor="cli:test")
    assert stages_of(target)[2].params["imaging"] == {"imsize_pix": 256}
    other = make_tile("other", mid_mjd=61315.0)
    with pytest.raises(ParamsInvalid, match="imsize_pix"):
        start([Plan.calibrator(other)], Options(stage_params={"imaging": {"imsize_pix": 3}}), actor="cli:test")
    assert (Run.objects.count(), Task.objects.filter(run__label="other").count()) == (2, 0)
    other.observation.refresh_from_db()
    assert other.observation.run_id is None


def test_a_run_is_started_once_unless_asked_again():
    tile = make_tile("bright", flux_jy=12.0)
    start([Plan.calibrator(tile)], CATALOG, actor="ingest", again=False)
    with pytest.raises(AlreadyStarted):
        start([Plan.calibrator(tile)], CATALOG, actor="ingest", again=False)
    assert Run.objects.count() == 1
    start([Plan.calibrator(tile)], CATALOG, actor="cli:test")
    assert (Run.objects.count(), Observation.objects.count()) == (2, 1)


def test_without_a_catalogue_the_calibrators_in_the_beam_are_measured_or_nothing():
    tile = make_tile("empty")
    start([Plan.calibrator(tile)], Options(), actor="cli:test")
    assert [task.stage for task in stages_of(tile)] == CALIBRATOR_STAGES[:-2]
    near = Observation(ra_deg=343.5, dec_deg=16.2)
    assert [position.name for position in positions_for(near, "target", None)] == ["3C454.3"]


def test_a_calibrators_tile_far_from_the_catalogue_measures_nothing_but_a_targets_verdict_names_it():
    far = Observation(ra_deg=30.0, dec_deg=16.0)
    assert positions_for(far, "calibrator", [SOURCE]) == []
    assert positions_for(far, "target", [SOURCE]) == [SOURCE]


def test_a_large_catalogue_is_cut_to_what_is_near():
    near = Observation(ra_deg=10.0, dec_deg=16.0)
    large = [Position(name=f"S{n}", ra_deg=n * 0.1, dec_deg=16.0) for n in range(3000)]
    kept = positions_for(near, "target", large)
    assert 60 < len(kept) < 70 and kept[0].ra_deg == pytest.approx(6.7)


def test_a_single_tile_with_a_bright_calibrator_calibrates_itself():
    assert plan_single(make_tile("bright", flux_jy=MIN_APPARENT_FLUX_JY)).role == "calibrator"


def test_a_single_target_gets_the_nearest_usable_calibration_of_its_strip():
    tile = make_tile("target", flux_jy=MIN_APPARENT_FLUX_JY / 2)
    assert plan_single(tile) is None
    for name, days, declination_deg, verdict in [
        ("far", 0.9, 16.2, "pass"),
        ("near", -0.2, 15.9, "warn"),
        ("refused", 0.1, 16.1, "fail"),
        ("strip", 0.1, 33.0, "pass"),
        ("stale", 1.1, 16.1, "pass"),
    ]:
        Calibration.objects.create(
            task_id=Run().run_id,
            path=f"/data/{name}",
            telescope_name="OVRO_MMA",
            mid_mjd=61314.25 + days,
            declination_deg=declination_deg,
            verdict=verdict,
        )
    assert plan_single(tile).calibration_path == "/data/near"


def test_a_single_target_prefers_a_solve_under_way_that_is_nearer():
    bright = make_tile("bright", mid_mjd=61314.3, flux_jy=12.0)
    start([Plan.calibrator(bright)], Options(), actor="ingest")
    target = make_tile("target")
    plan = plan_single(target)
    assert plan.solve_task_id == stages_of(bright)[1].task_id and plan.calibration_path is None


def test_a_target_between_two_calibrations_gets_both_to_interpolate():
    early = make_tile("early", mid_mjd=61314.20, flux_jy=12.0)
    start([Plan.calibrator(early)], Options(), actor="ingest")
    late = {"path": "/data/late", "mid_mjd": 61314.27, "declination_deg": 16.1, "verdict": "pass"}
    Calibration.objects.create(task_id=Run().run_id, telescope_name="OVRO_MMA", **late)
    target = make_tile("target", mid_mjd=61314.25)
    plan = plan_single(target)
    solve = stages_of(early)[1]
    assert (plan.calibration_path, plan.other_solve_task_id) == ("/data/late", solve.task_id)
    assert plan.solve_task_id is None and plan.other_calibration_path is None
    start([plan], Options(), actor="ingest")
    calibrate = stages_of(target)[0]
    assert calibrate.params["calibration_path"] == "/data/late"
    assert calibrate.bindings["other_calibration_path"] == {"task_id": str(solve.task_id), "field": "calibration_path"}
    assert parents_of(calibrate) == [("calibration-solve", "early")]


def test_two_calibrations_on_one_side_are_not_interpolated():
    for days in (0.01, 0.02):
        Calibration.objects.create(
            task_id=Run().run_id, path=f"/data/{days}", telescope_name="OVRO_MMA", mid_mjd=61314.25 - days,
            declination_deg=16.1, verdict="pass",
        )  # fmt: skip
    plan = plan_single(make_tile("target"))
    assert (plan.calibration_path, plan.other_calibration_path, plan.other_solve_task_id) == ("/data/0.01", None, None)


def test_a_calibrator_is_due_until_its_tile_is_late_or_has_been_started():
    known = calibrator("3C454.3")
    target = make_tile("target")
    observation = target.observation
    observation.ra_deg, observation.dec_deg = known.ra_deg - 5.0, known.dec_deg
    due = due_calibrator(target, now_mjd=observation.mid_mjd)
    assert due.name == "3C454.3"
    assert (due.transit_mjd - observation.mid_mjd) * 1440 == pytest.approx(5.0 / 15.041 * 60, rel=1e-3)
    assert due_calibrator(target, now_mjd=due.until_mjd + 1e-4) is None
    for ra_deg, dec_deg in ((known.ra_deg + 5.0, known.dec_deg), (known.ra_deg - 9.0, known.dec_deg), (10.0, 70.0)):
        observation.ra_deg, observation.dec_deg = ra_deg, dec_deg
        found = due_calibrator(target, now_mjd=observation.mid_mjd)
        assert found is None or found.name != "3C454.3"
    observation.ra_deg, observation.dec_deg = known.ra_deg - 5.0, known.dec_deg
    bright = make_tile("bright", mid_mjd=due.transit_mjd, flux_jy=12.0)
    assert due_calibrator(target, now_mjd=observation.mid_mjd) is not None
    start([Plan.calibrator(bright)], Options(), actor="ingest")
    assert due_calibrator(target, now_mjd=observation.mid_mjd) is None


def test_a_task_may_name_only_data_roots_and_registered_raw_files(settings, tmp_path):
    settings.ABSURD_DATA_ROOTS = (tmp_path / "data", Path("/stage"))
    tile = make_tile("raw")

    def ask(task_name, **params):
        return spawn(TaskOptions(task_name=task_name, params=params), actor="key:test")

    ask("calibration-solve", ms_path="/stage/urgent.ms")
    ask("convert-uvh5-to-ms", paths=list(tile.paths))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "out").symlink_to("/etc")
    for refused in (
        "/etc/passwd",
        "/stage/../etc/passwd",
        str(tmp_path / "data/out/x.ms"),
        "urgent.ms",
        "/stagecoach/x",
    ):
        with pytest.raises(ParamsInvalid, match=r"params\.ms_path: .*ABSURD_DATA_ROOTS"):
            ask("calibration-solve", ms_path=refused)
    with pytest.raises(ParamsInvalid, match=r"params\.paths\.1"):
        ask("convert-uvh5-to-ms", paths=[tile.paths[0], "/etc/passwd"])


def test_the_catalogues_sources_around_a_calibrator_enter_its_model():
    def listed(name: str, dec_deg: float, flux_jy: float | None) -> Position:
        return Position(name=name, ra_deg=10.0, dec_deg=dec_deg, flux_jy=flux_jy)

    tile = make_tile("cal", flux_jy=12.0)
    catalog = (
        listed("faint", 16.2, 0.1),
        listed("bright", 16.3, 0.9),
        listed("far", 26.0, 5.0),
        listed("n", 16.4, None),
    )
    start([Plan.calibrator(tile)], Options(catalog=catalog), actor="test")
    solve = next(task for task in stages_of(tile) if task.task_name == "calibration-solve")
    assert [source["name"] for source in solve.params["field_sources"]] == ["bright", "faint"]
    assert solve.params["field_sources"][0]["flux_jy"] == 0.9
