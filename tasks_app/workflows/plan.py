"""Runs planned as stages: which tasks there are, who waits for whom, and whose results go where. No database here.

    plan = RunPlan("mosaic", label="2025-11-18")
    plan.stage("image", "imaging", fan_out=[{"ms_path": path} for path in paths])
    plan.stage("mosaic", "create-mosaic", bindings={"images": All("image", "image_path")},
               join=Join(quorum=9, deadline_sec=1200))

`operations.runs.start` puts it into the queue.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Self
from uuid import UUID

from tasks_app.engine.bindings import Binding, Gather
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.registry import Problem
from tasks_app.engine.spawn import NewTask
from tasks_app.errors import ParamsInvalid
from tasks_app.models.task import new_task_id
from tasks_app.workflows.state import SUPERSEDED

TASKS_MOST, EDGES_MOST = 2_000, 50_000
STAGE_NAME_CHARS = 80


@dataclass(frozen=True)
class One:
    """A param taken from the result of another stage's task.

    Between two stages that fan out alike, each task takes it from the one at its own place.
    """

    stage: str
    field: str


@dataclass(frozen=True)
class All:
    """A param that is the list of what the completed tasks of another stage have in their results, in order."""

    stage: str
    field: str


Source = One | All | Binding | Gather


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a run: a task, or as many as it fans out into."""

    name: str
    options: TaskOptions
    """Those of each of its tasks."""
    after: Sequence[str] = ()
    """Stages all of whose tasks it waits for, beside those that its bindings name."""
    bindings: Mapping[str, Source] = field(default_factory=dict)
    fan_out: Sequence[Mapping[str, Any]] | None = None
    """The params of each task, on top of those of the options; None makes one task."""

    @property
    def members(self) -> Sequence[Mapping[str, Any]]:
        """What each of its tasks has in its params beside the rest."""
        return [{}] if self.fan_out is None else self.fan_out

    def path(self, place: int | None = None) -> str:
        """How faults name the stage, or one of its tasks."""
        which = "" if place is None or self.fan_out is None else f".fan_out[{place}]"
        return f"stages.{self.name}{which}"

    @property
    def sources(self) -> list[tuple[str, One | All]]:
        """The bindings that other stages feed, with the path of each."""
        found = [(name, source) for name, source in self.bindings.items() if isinstance(source, One | All)]
        return [(f"{self.path()}.bindings.{name}", source) for name, source in found]


@dataclass
class RunPlan:
    """The stages of one run of a workflow, in any order."""

    workflow: str
    label: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    def stage(
        self,
        name: str,
        task_name: str,
        *,
        after: Sequence[str] = (),
        bindings: Mapping[str, Source] | None = None,
        fan_out: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> Self:
        """Add a stage and return the plan; `options` are those of TaskOptions.

        Raises ParamsInvalid with paths such as `stages.image.timeout_sec`.
        """
        try:
            chosen = TaskOptions(task_name=task_name, **options)
        except ParamsInvalid as error:
            raise ParamsInvalid(
                [{**each, "path": f"stages.{name}.{each['path']}"} for each in error.problems]
            ) from None
        self.stages.append(Stage(name=name, options=chosen, after=after, bindings=bindings or {}, fan_out=fan_out))
        return self

    def tasks(self) -> list[NewTask]:
        """Return what is to be spawned, wired together, parents first.

        Raises ParamsInvalid with the path of everything that is wrong with the plan; params are checked at the spawn.
        """
        _refuse(_faults_of_run(self) + _faults_of_names(self.stages))
        ordered = _in_order(self.stages)
        _refuse(_faults_of_wiring(ordered))
        return _Wiring(ordered).tasks()


def _refuse(faults: Sequence[Problem]) -> None:
    if faults:
        raise ParamsInvalid([fault for place, fault in enumerate(faults) if fault not in faults[:place]])


def _faults_of_run(plan: RunPlan) -> list[Problem]:
    faults = []
    if not 1 <= len(plan.workflow) <= 100:
        faults.append(Problem(path="workflow", message="write 1 to 100 characters"))
    if len(plan.label) > 200:
        faults.append(Problem(path="label", message="write at most 200 characters"))
    if not plan.stages:
        faults.append(Problem(path="stages", message="a run needs at least one stage"))
    n_tasks = sum(len(stage.members) for stage in plan.stages)
    if n_tasks > TASKS_MOST:
        faults.append(Problem(path="stages", message=f"{n_tasks} tasks are more than the {TASKS_MOST} of one run"))
    return faults


def _faults_of_names(stages: Sequence[Stage]) -> list[Problem]:
    """What is wrong with how stages are called, and with the names by which they call each other."""
    names = [stage.name for stage in stages]
    faults = []
    for stage in stages:
        if not 1 <= len(stage.name) <= STAGE_NAME_CHARS or not stage.name.isprintable() or SUPERSEDED in stage.name:
            message = f"write 1 to {STAGE_NAME_CHARS} printable characters without {SUPERSEDED}"
            faults.append(Problem(path=f"{stage.path()}.name", message=message))
        if names.count(stage.name) > 1:
            faults.append(Problem(path=f"{stage.path()}.name", message="two stages have this name"))
        named = [(f"{stage.path()}.after", name) for name in stage.after]
        for path, name in [*named, *((path, source.stage) for path, source in stage.sources)]:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                faults.append(Problem(path=path, message=f"there is no stage {name!r}{hint}"))
    return faults


def _in_order(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages so that each stands behind those it waits for."""
    by_name = {stage.name: stage for stage in stages}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for stage in stages:
        sorter.add(stage.name, *stage.after, *(source.stage for _, source in stage.sources))
    try:
        return [by_name[name] for name in sorter.static_order()]
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise ParamsInvalid([Problem(path="stages", message=f"stages wait for each other: {circle}")]) from None


def _faults_of_wiring(ordered: Sequence[Stage]) -> list[Problem]:
    """What is wrong with how many tasks feed how many."""
    sizes = {stage.name: len(stage.members) for stage in ordered}
    fans = {stage.name for stage in ordered if stage.fan_out is not None}
    faults = []
    for stage in ordered:
        if stage.fan_out is not None and not stage.fan_out:
            faults.append(Problem(path=f"{stage.path()}.fan_out", message="write the params of at least one task"))
        for path, source in stage.sources:
            alike = stage.name in fans and sizes[stage.name] == sizes[source.stage]
            if isinstance(source, One) and source.stage in fans and not alike:
                message = f"{source.stage!r} has {sizes[source.stage]} tasks; take All(…) of them"
                faults.append(Problem(path=path, message=message))
    return faults


class _Wiring:
    """Gives each task an id and works out its parents."""

    def __init__(self, ordered: Sequence[Stage]) -> None:
        self._ordered = ordered
        self._fans = {stage.name for stage in ordered if stage.fan_out is not None}
        self._ids: dict[str, list[UUID]] = {stage.name: [new_task_id() for _ in stage.members] for stage in ordered}

    def tasks(self) -> list[NewTask]:
        """Return the tasks of all stages. Raises ParamsInvalid for too many edges."""
        wired, n_edges = [], 0
        for stage in self._ordered:
            for place, own in enumerate(stage.members):
                wired.append(self._task(stage, place, own))
                n_edges += len(wired[-1].parents)
                if n_edges > EDGES_MOST:
                    message = f"with it, tasks wait for each other in more than {EDGES_MOST} ways"
                    raise ParamsInvalid(
                        [Problem(path=stage.path(), message=f"{message}; put a stage with one task between them")]
                    )
        return wired

    def _task(self, stage: Stage, place: int, own: Mapping[str, Any]) -> NewTask:
        return NewTask(
            options=stage.options.model_copy(update={"params": {**stage.options.params, **own}}),
            task_id=self._ids[stage.name][place],
            after=[task_id for name in dict.fromkeys(stage.after) for task_id in self._ids[name]],
            bindings={name: self._bound(source, place) for name, source in stage.bindings.items()},
            stage=stage.name,
            path=stage.path(place),
        )

    def _bound(self, source: Source, place: int) -> Binding | Gather:
        if isinstance(source, All):
            return Gather(task_ids=self._ids[source.stage], field=source.field)
        if isinstance(source, One):
            ids = self._ids[source.stage]
            return Binding(task_id=ids[place if source.stage in self._fans else 0], field=source.field)
        return source
