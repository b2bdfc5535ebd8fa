"""`manage.py absurd_runs list|show|cancel|retry`: the state of runs, and operations on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks_app.management.arguments import whole
from tasks_app.management.operations import Target, TargetCommand
from tasks_app.management.selection import find_run
from tasks_app.models import Run
from tasks_app.workflows.graph import RunGraph, graph_of
from tasks_app.workflows.state import RunState, state_of, states_of

LISTED, LISTED_MOST = 20, 10_000


class Command(TargetCommand):
    help = (
        "list: the newest runs. show ID: one run with its tasks. cancel ID: cancel its unfinished tasks. retry ID: "
        "retry its failed and cancelled tasks, with --from-stage also that stage and all that depend on it. Both show "
        "what they would do and ask, unless --yes is given. Exit codes: 0 ok, 1 failed or not confirmed, 2 usage, "
        "3 no such run, 4 the run's tasks do not allow it, 75 Absurd is disabled."
    )
    target_kind = "run"
    metavar = "ID"
    target_help = "a run id, or the first digits of one"

    def add_readings(self, subparsers: Any) -> None:
        listing = subparsers.add_parser("list", allow_abbrev=False, help="the newest runs")
        listing.add_argument("--workflow", help="only runs of this workflow")
        limit = whole(1, LISTED_MOST)
        listing.add_argument("--limit", type=limit, default=LISTED, metavar="N", help="how many (default: %(default)s)")
        showing = subparsers.add_parser("show", allow_abbrev=False, help="one run with its tasks")
        showing.add_argument("run_id", metavar="ID", help=self.target_help)

    def find(self, text: str) -> Target:
        run = find_run(text)
        return Target(key=run.run_id, label=str(run), identity={"run_id": run.run_id}, row=run)

    def read_list(self, options: dict[str, Any]) -> None:
        rows = Run.objects.order_by("-id")
        if options["workflow"]:
            rows = rows.filter(workflow=options["workflow"])
        runs = list(rows[: options["limit"]])
        states = states_of(runs)
        found = [(run, states[run.run_id]) for run in runs]
        lines = [f"{run.run_id}  {_progress(state)}  {run}  {state.reason}".rstrip() for run, state in found]
        self.show(options, lambda: [_shape(*each) for each in found], lines or ["there are no runs"])

    def read_show(self, options: dict[str, Any]) -> None:
        run = find_run(options["run_id"])
        state, graph = state_of(run), graph_of(run)
        self.show(options, lambda: _shape(run, state, graph), _lines(run, state, graph))


def _progress(state: RunState) -> str:
    return f"{state.word:<9} {state.completed:>3} of {state.total:<3}"


def _lines(run: Run, state: RunState, graph: RunGraph) -> Iterator[str]:
    yield str(run)
    yield f"run {run.run_id}, started {run.created_at:%Y-%m-%d %H:%M:%SZ} by {run.created_by}"
    yield f"{_progress(state).strip()}{f': {state.reason}' if state.reason else ''}"
    for node in graph.nodes:
        stage = node.stage or node.task_name
        yield f"  {node.display_status:<11} {stage:<20} {node.task_id}  {node.reason}".rstrip()
    if graph.truncated:
        yield "  and more"


def _shape(run: Run, state: RunState, graph: RunGraph | None = None) -> dict[str, Any]:
    from tasks_app.api.serializers import RunGraphSerializer, RunSerializer, ShownRun  # slow to import

    shown = ShownRun(run=run, state=state, graph=graph)
    return dict((RunSerializer(shown) if graph is None else RunGraphSerializer(shown)).data)
