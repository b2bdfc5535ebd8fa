"""`manage.py absurd_runs list|show|cancel|retry`: the state of runs, and operations on them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tasks_app.management.arguments import whole
from tasks_app.management.operations import Target, TargetCommand
from tasks_app.management.selection import find_run
from tasks_app.models import Run
from tasks_app.workflows.graph import graph_of
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

    def read(self, options: dict[str, Any]) -> None:
        """List runs, or show one."""
        self._options = options
        if options["action"] == "list":
            self._list()
        else:
            self._show(find_run(options["run_id"]))

    def find(self, text: str) -> Target:
        """Return the run. Raises RunNotFound, or ParamsInvalid when several are meant."""
        run = find_run(text)
        return Target(key=run.run_id, label=str(run), identity={"run_id": run.run_id}, row=run)

    def _list(self) -> None:
        rows = Run.objects.order_by("-id")
        if self._options["workflow"]:
            rows = rows.filter(workflow=self._options["workflow"])
        runs = list(rows[: self._options["limit"]])
        states = states_of(runs)
        if self._options["json"]:
            self.write_json([_summary(run, states[run.run_id]) for run in runs])
            return
        for run in runs:
            state = states[run.run_id]
            self.stdout.write(f"{run.run_id}  {_line(state)}  {run}  {state.reason}".rstrip())
        if not runs:
            self.stdout.write("there are no runs")

    def _show(self, run: Run) -> None:
        state, graph = state_of(run), graph_of(run)
        if self._options["json"]:
            nodes = [asdict(node) for node in graph.nodes]
            edges = [edge._asdict() for edge in graph.edges]
            self.write_json({**_summary(run, state), "params": run.params, "nodes": nodes, "edges": edges})
            return
        self.stdout.write(f"{run}\nrun {run.run_id}, started {run.created_at:%Y-%m-%d %H:%M:%SZ} by {run.created_by}")
        self.stdout.write(f"{_line(state).strip()}{f': {state.reason}' if state.reason else ''}")
        for node in graph.nodes:
            stage = node.stage or node.task_name
            self.stdout.write(f"  {node.display_status:<11} {stage:<20} {node.task_id}  {node.reason}".rstrip())
        if graph.truncated:
            self.stdout.write("  and more")


def _line(state: RunState) -> str:
    return f"{state.word:<9} {state.completed:>3} of {state.total:<3}"


def _summary(run: Run, state: RunState) -> dict[str, Any]:
    own = {
        "run_id": run.run_id,
        "workflow": run.workflow,
        "label": run.label,
        "created_at": run.created_at,
        "created_by": run.created_by,
        "state": state.word,
        "reason": state.reason,
        "progress": state.progress,
        "finished_at": state.finished_at,
    }
    return own | {name: value for name, value in asdict(state).items() if name not in own}
