"""What the page of a run shows: its stages as a graph, and its tasks over time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from tasks_app.admin.charts import Interval, Lanes
from tasks_app.admin.pages import Link, read_panels
from tasks_app.admin.task_page import attempt_intervals, interval, tone_of
from tasks_app.models import Attempt, Run
from tasks_app.workflows.graph import Node, RunGraph

STAGES_SHOWN = 60
LANES_SHOWN = 40
ATTEMPTS_READ = 2000
WORST_FIRST = (
    "quarantined", "failed", "cancelling", "claimed", "retrying", "pending", "scheduled", "waiting", "unrunnable",
    "cancelled", "completed",
)  # fmt: skip


@dataclass(kw_only=True)
class Notes:
    """What an application knows about a task: the verdict on its result, key figures with units, and what it made."""

    verdict: str = ""
    figures: list[tuple[str, str]] = field(default_factory=list)
    products: list[Link] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RunNotes:
    """What an application knows about a run: pages about it, and notes by task id."""

    links: Sequence[Link] = ()
    by_task: Mapping[UUID, Notes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """An application's reader of notes, for those who have the permission."""

    name: str
    permission: str
    read: Callable[[Run], RunNotes]


@dataclass(kw_only=True)
class Stage:
    """The tasks of one stage, as a box of the graph."""

    name: str
    nodes: list[Node]
    parents: list[str] = field(default_factory=list)
    """The stages that it waits for, where these are not just those of the layer before."""
    notes: list[Notes] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The state of its tasks that says most."""
        states = set(map(_state_of, self.nodes))
        return next(state for state in WORST_FIRST if state in states)

    @property
    def counts(self) -> str:
        """How many of its tasks are in which state; empty for a single one."""
        if len(self.nodes) == 1:
            return ""
        found = Counter(map(_state_of, self.nodes))
        return ", ".join(f"{found[state]} {state}" for state in WORST_FIRST if found[state])

    @property
    def started_at(self) -> datetime | None:
        """When its first task was claimed."""
        return min((node.claimed_at for node in self.nodes if node.claimed_at), default=None)

    @property
    def took_sec(self) -> float | None:
        """Seconds from the first claim to the last end, once all tasks have ended."""
        ends = [node.completed_at for node in self.nodes if node.completed_at]
        if self.started_at is None or len(ends) < len(self.nodes):
            return None
        return (max(ends) - self.started_at).total_seconds()

    @property
    def is_running(self) -> bool:
        """Whether a task of it is claimed."""
        return any(node.status == "claimed" for node in self.nodes)

    @property
    def reason(self) -> str:
        """Why it waits or has failed, from the first task that says so."""
        telling = [node for node in self.nodes if _state_of(node) == self.state]
        return next((node.reason for node in telling if node.reason), "")

    @property
    def verdict(self) -> str:
        """The worst verdict on its results."""
        found = {note.verdict for note in self.notes}
        return next((verdict for verdict in ("fail", "warn", "pass") if verdict in found), "")

    @property
    def figures(self) -> list[tuple[str, str]]:
        """The key figures of a stage with a single result."""
        return self.notes[0].figures if len(self.notes) == 1 else []

    @property
    def products(self) -> list[Link]:
        """What a single task made."""
        return self.notes[0].products if len(self.notes) == 1 else []


def _state_of(node: Node) -> str:
    """Return its state; what failed only because another task did must not look like the cause."""
    return "unrunnable" if node.is_held and node.status == "failed" else node.display_status


_sources: dict[str, Source] = {}


def add_notes(source: Source) -> None:
    """Show an application's notes on the page of every run that it knows something about."""
    _sources[source.name] = source


def context_of(request: HttpRequest, run: Run, graph: RunGraph) -> dict[str, Any]:
    """Return what the page shows of the run's graph."""
    mine = [source for source in _sources.values() if request.user.has_perm(source.permission)]
    found = read_panels({source.name: partial(source.read, run) for source in mine})
    known: list[RunNotes] = [panel.value for panel in found.values() if panel.value is not None]
    layers = layers_of(graph, known)
    shown = sum(map(len, layers))
    return {
        "layers": layers,
        "unshown_stages": len(_stages(graph)) - shown,
        "links": [link for notes in known for link in notes.links],
        "problems": [(name, panel.problem) for name, panel in found.items() if panel.problem],
        "lanes": lanes(graph.nodes, _attempts(graph.nodes[:LANES_SHOWN])),
        "unshown_lanes": max(0, len(graph.nodes) - LANES_SHOWN),
    }


def _stages(graph: RunGraph) -> dict[str, Stage]:
    """Return the stages by name; what fresh copies have superseded is left out."""
    found: dict[str, Stage] = {}
    for node in graph.nodes:
        if not node.superseded:
            name = node.stage or node.task_name
            found.setdefault(name, Stage(name=name, nodes=[])).nodes.append(node)
    return found


def layers_of(graph: RunGraph, known: Sequence[RunNotes] = ()) -> list[list[Stage]]:
    """Return the stages, STAGES_SHOWN at most, in layers: each stage comes after all that it waits for."""
    stages = _stages(graph)
    name_of = {node.task_id: name for name, stage in stages.items() for node in stage.nodes}
    parents: dict[str, dict[str, None]] = defaultdict(dict)
    for parent, child in graph.edges:
        pair = name_of.get(parent), name_of.get(child)
        if pair[0] and pair[1] and pair[0] != pair[1]:
            parents[pair[1]][pair[0]] = None
    layers: list[list[Stage]] = []
    left = dict(stages)
    while left:
        # Stages that wait for each other, as their tasks may, come last and together.
        names = [name for name in left if not parents[name].keys() & left.keys()] or list(left)
        before = {stage.name for stage in layers[-1]} if layers else set()
        for name in names:
            stage = left.pop(name)
            stage.parents = [] if parents[name].keys() == before else list(parents[name])
            stage.notes = [notes.by_task[node.task_id] for node in stage.nodes for notes in known
                           if node.task_id in notes.by_task]  # fmt: skip
        layers.append([stages[name] for name in names])
    return _first(layers, STAGES_SHOWN)


def _first(layers: list[list[Stage]], most: int) -> list[list[Stage]]:
    found = []
    for layer in layers:
        if most > 0:
            found.append(layer[:most])
            most -= len(layer)
    return found


def _attempts(nodes: Sequence[Node]) -> dict[UUID, list[Attempt]]:
    """Return the attempts by task id, in order."""
    rows = Attempt.objects.filter(task_id__in=[node.task_id for node in nodes])
    found: dict[UUID, list[Attempt]] = defaultdict(list)
    light = rows.only("task_id", "number", "started_at", "ended_at", "outcome")
    for attempt in light.order_by("task_id", "number")[:ATTEMPTS_READ]:
        found[attempt.task_id].append(attempt)
    return found


def lanes(nodes: Sequence[Node], attempts: Mapping[UUID, Sequence[Attempt]]) -> Lanes:
    """Return a lane for each of the first tasks: when it waited and when it ran."""
    intervals: list[Interval] = []
    for lane, node in enumerate(nodes[:LANES_SHOWN]):
        intervals += _lane(lane, node, attempts.get(node.task_id, ()))
    names = [node.stage or node.task_name for node in nodes[:LANES_SHOWN]]
    return Lanes(name="tasks", title="Tasks over time, UTC: light while they wait", lanes=names, intervals=intervals)


def _lane(lane: int, node: Node, attempts: Sequence[Attempt]) -> list[Interval]:
    if node.created_at is None:
        return []
    link = reverse("admin:tasks_app_task_change", args=[node.task_id])
    found, last_end = attempt_intervals(lane, attempts, node.created_at, link)
    if attempts and node.status != "pending":
        return found
    ran_from = None if attempts else node.claimed_at
    until = ran_from or node.completed_at or timezone.now()
    found.append(interval(lane, last_end or node.created_at, until, f"{node.display_status}: waited", "wait", link))
    if ran_from is not None:  # archived, and its attempts with it
        found.append(interval(lane, ran_from, node.completed_at, node.status, tone_of(node.status), link))
    return found
