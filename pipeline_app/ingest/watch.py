"""The ingest as a service: scans a directory tree at intervals, and starts a run for each complete tile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import Error, transaction
from django.db.models import F, Q

from pipeline_app.calibration_choice import (
    MIN_APPARENT_FLUX_JY,
    Due,
    due_calibrator,
    mjd_of,
    moment_of,
    plan_single,
)
from pipeline_app.catalogs import read_catalog
from pipeline_app.ingest.header import FileBusy
from pipeline_app.ingest.register import STILL_WRITTEN, FileProblem, age_out, register, scan, tile_of
from pipeline_app.models import Observation, ObservationState, SubbandFile
from pipeline_app.workflows import AlreadyStarted, Options, Plan, start
from tasks_app.engine import registry
from tasks_app.engine.handler import InvalidInput
from tasks_app.formats import escaped
from tasks_app.postgresql import clock

CATALOG_NAME = "catalog.csv"
"""Beside the raw files or in a directory above, up to the watched one: where to measure."""
PROCESSING_NAME = "processing.json"
"""In the same places: further params by task name, such as {"imaging": {"niter": 500}}."""
QUIET_SEC = 120.0
"""Without a new file for this long, a tile is taken to have all it will get."""


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """How to watch."""

    quiet_sec: float = QUIET_SEC
    queue_name: str | None = None
    actor: str = "ingest"


@dataclass(kw_only=True)
class Watcher:
    """Watches one directory tree; `report` is called with a line for each event.

    A file is read when its size and time have not changed between two scans. What was read is stored in the
    database, so a restarted or a second watcher reads nothing twice and starts nothing twice.
    """

    directory: Path
    options: WatchOptions
    report: Callable[[str], None]
    _read: dict[str, tuple[int, int]] = field(default_factory=dict)
    _unsettled: dict[str, tuple[int, int]] = field(default_factory=dict)
    _faults: dict[int, str] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)
    """What was reported of files and folders that are left out, so that it is reported once."""

    def load_known(self) -> None:
        """Load from the database which files under the directory have been read."""
        root = str(self.directory.resolve())
        known = SubbandFile.objects.filter(path__startswith=f"{root}/")
        self._read = {path: (size, mtime) for path, size, mtime in known.values_list("path", "size_bytes", "mtime_ns")}

    def scan_once(self) -> int:
        """Register settled files, close tiles without new files, start what can start; return how many started.

        Tiles from elsewhere are left alone: the program that registered them starts them.
        """
        for found in scan(self.directory):
            if isinstance(found, Path):
                self._register_settled(found)
            elif found.problem != STILL_WRITTEN:
                self._report_once(found)
        for observation in age_out(self.options.quiet_sec):
            if observation.state == ObservationState.INCOMPLETE:
                self.report(f"{observation.name}: incomplete, {observation.reason}; release it to process it now")
        root = str(self.directory.resolve())
        # Calibrators first: a target that became ready at the same moment is then tied to its solve.
        startable = Observation.objects.filter(
            Q(directory=root) | Q(directory__startswith=f"{root}/"),
            state__in=[ObservationState.READY, ObservationState.WAITING],
            run_id=None,
        ).order_by(F("calibrator_apparent_flux_jy").desc(nulls_last=True), "start_mjd")
        return sum(self._start(observation) for observation in startable)

    def _register_settled(self, path: Path) -> None:
        try:
            status = path.stat()
        except OSError:
            return
        key, seen = str(path), (status.st_size, status.st_mtime_ns)
        if self._read.get(key) == seen:
            return
        if self._unsettled.get(key) != seen:
            self._unsettled[key] = seen
            return
        try:
            file = register(path)
        except FileBusy as fault:
            self._report_once(FileProblem(path=key, problem=str(fault)))
            return
        self._read[key] = (file.size_bytes, file.mtime_ns)
        del self._unsettled[key]
        self._problems.pop(key, None)
        if file.problem:
            self.report(f"{path.name}: {file.problem}")
        elif file.observation is not None:
            self._report_ready(file.observation)

    def _report_once(self, found: FileProblem) -> None:
        if self._problems.get(found.path) != found.problem:
            self._problems[found.path] = found.problem
            self.report(f"{found.path}: {found.problem}")

    def _report_ready(self, observation: Observation) -> None:
        observation.refresh_from_db()
        if observation.state == ObservationState.READY:
            self.report(f"{observation.name}: all {observation.expected_subbands} subbands have arrived")

    def _start(self, observation: Observation) -> bool:
        try:
            tile = tile_of(observation)
            due = due_calibrator(tile, mjd_of(clock.now()))
            plan = None if due else plan_single(tile)
            if plan is None:
                self._wait(observation, due)
                return False
            start([plan], self._run_options(plan), actor=self.options.actor, again=False)
        except AlreadyStarted:
            return False
        except Error:
            raise
        # Whatever keeps one tile from starting must not keep the others.
        except Exception as fault:
            self._report_failure(observation, str(fault) or type(fault).__name__)
            return False
        self._faults.pop(observation.pk, None)
        self.report(f"{observation.name}: run started, {_origin(plan)}")
        return True

    def _run_options(self, plan: Plan) -> Options:
        catalog = self._nearest(plan, CATALOG_NAME)
        processing = self._nearest(plan, PROCESSING_NAME)
        return Options(
            catalog=tuple(read_catalog(catalog)) if catalog else None,
            stage_params=read_stage_params(processing) if processing else {},
            queue_name=self.options.queue_name,
        )

    def _nearest(self, plan: Plan, name: str) -> Path | None:
        """Return the file of that name beside the tile's first raw file, or in the nearest directory above it."""
        root = self.directory.resolve()
        place = Path(plan.tile.paths[0]).parent
        for folder in (place, *place.parents):
            if not folder.is_relative_to(root):
                return None
            if (folder / name).is_file():
                return folder / name
        return None

    def _wait(self, observation: Observation, due: Due | None) -> None:
        if due is not None:
            transit, until = (f"{moment_of(mjd):%H:%M:%S}" for mjd in (due.transit_mjd, due.until_mjd))
            reason = f"waiting for the calibrator {due.name}, which transits at {transit} UTC, until {until} UTC"
        else:
            reason = (
                f"waiting for a calibrator: none of {MIN_APPARENT_FLUX_JY:g} Jy in the beam, and none solved within a "
                f"day at declination {observation.declination_deg:.1f}°"
            )
        with transaction.atomic():
            startable = [ObservationState.READY, ObservationState.WAITING]
            waiting = Observation.objects.filter(pk=observation.pk, run_id=None, state__in=startable)
            changed = waiting.exclude(state=ObservationState.WAITING, reason=reason).update(
                state=ObservationState.WAITING, reason=reason
            )
        if changed:
            self.report(f"{observation.name}: {reason}")

    def _report_failure(self, observation: Observation, fault: str) -> None:
        if self._faults.get(observation.pk) == fault:
            return
        self._faults[observation.pk] = fault
        Observation.objects.filter(pk=observation.pk, run_id=None).update(reason=escaped(f"cannot start: {fault}"))
        self.report(f"{observation.name}: cannot start: {fault}")


def _origin(plan: Plan) -> str:
    if plan.role == "calibrator":
        seen = plan.tile.observation
        return f"calibrator {seen.calibrator} arrives with {seen.calibrator_apparent_flux_jy:.1f} Jy"
    if plan.other_calibration_path is not None or plan.other_solve_task_id is not None:
        return "with gains interpolated between two calibrations"
    if plan.calibration_path is not None:
        return f"with calibration {Path(plan.calibration_path).name}"
    return "with the calibration that is being solved"


def read_stage_params(path: Path) -> dict[str, dict[str, Any]]:
    """Read params by task name from a JSON file.

    Raises:
        InvalidInput: the file is not an object of objects, or names an unknown task.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    return check_stage_params(content, str(path))


def check_stage_params(content: object, origin: str) -> dict[str, dict[str, Any]]:
    """Return params by task name, checked for shape; their values are checked when the tasks are spawned.

    Raises:
        InvalidInput: it is not an object of objects, or names an unknown task.
    """
    if not isinstance(content, Mapping) or not all(isinstance(params, Mapping) for params in content.values()):
        raise InvalidInput(f"{origin}: write an object of objects, params by task name")
    unknown = sorted(set(content) - set(registry.names()))
    if unknown:
        raise InvalidInput(f"{origin}: unknown task name {', '.join(unknown)}")
    return {name: dict(params) for name, params in content.items()}
