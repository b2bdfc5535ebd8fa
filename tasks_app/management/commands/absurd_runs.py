"""`manage.py absurd_runs list|show|cancel|retry`: how runs stand, and what is done to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from tasks_app.management.arguments import whole
from tasks_app.management.selection import find_run
from tasks_app.management.shell import ShellCommand, actor, refuse
from tasks_app.models import Run
from tasks_app.operations.run_retry import retry_run
from tasks_app.operations.runs import cancel_run
from tasks_app.workflows.graph import graph_of
from tasks_app.workflows.state import RunState, state_of, states_of

LISTED, LISTED_MOST = 20, 10_000


class Command(ShellCommand):
    """Runs from the shell."""

    help = (
        "list: the newest runs. show ID: one run with its tasks. cancel ID: cancel its unfinished tasks. retry ID: "
        "retry its failed and cancelled tasks, with --from-stage also that stage and all that depend on it. Both show "
        "what they would do and ask, unless --yes is given. Exit codes: 0 ok, 1 failed or not confirmed, 2 usage, "
        "3 no such run, 4 the run's tasks do not allow it, 75 Absurd is disabled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=("list", "show", "cancel", "retry"))
        parser.add_argument("run_id", nargs="?", metavar="ID", help="a run id, or the first digits of one")
        parser.add_argument("--json", action="store_true", help="write JSON")
        parser.add_argument("--workflow", help="list: only runs of this workflow")
        parser.add_argument(
            "--limit",
            type=whole(1, LISTED_MOST),
            default=LISTED,
            metavar="N",
            help="list: how many (default: %(default)s)",
        )
        parser.add_argument("--from-stage", metavar="STAGE", help="retry: re-run this stage and all that depend on it")
        parser.add_argument("--reason", default="", help="why; it is recorded with the event")
        parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def act(self, options: dict[str, Any]) -> None:
        """Do what the verb says."""
        self._options = options
        verb = options["verb"]
        if verb == "list":
            self._list()
            return
        if not options["run_id"]:
            refuse(f"name the run to {verb}")
        run = find_run(options["run_id"])
        if verb == "show":
            self._show(run)
        else:
            self._change(verb, run)

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
        self.stdout.write(f"{run}\nrun {run.run_id}, created {run.created_at:%Y-%m-%d %H:%M:%SZ} by {run.created_by}")
        self.stdout.write(f"{_line(state).strip()}{f': {state.reason}' if state.reason else ''}")
        for node in graph.nodes:
            stage = node.stage or node.task_name
            self.stdout.write(f"  {node.display_status:<11} {stage:<20} {node.task_id}  {node.reason}".rstrip())
        if graph.truncated:
            self.stdout.write("  and more")

    def _change(self, verb: str, run: Run) -> None:
        preview = self._carry_out(verb, run, dry_run=True)
        if not self._options["dry_run"] and not self._options["yes"]:
            self.confirm(f"{verb} {run} ({told(preview)})?", self._options)
        counts = preview if self._options["dry_run"] else self._carry_out(verb, run, dry_run=False)
        if self._options["json"]:
            self.write_json({"run_id": run.run_id, "verb": verb, "dry_run": self._options["dry_run"], "counts": counts})
            return
        note = " (dry run: nothing was done)" if self._options["dry_run"] else ""
        self.stdout.write(f"{run}: {told(counts)}{note}")

    def _carry_out(self, verb: str, run: Run, *, dry_run: bool) -> dict[str, int]:
        given: dict[str, Any] = {"actor": actor(), "reason": self._options["reason"], "dry_run": dry_run}
        if verb == "cancel":
            return asdict(cancel_run(run.run_id, **given))
        return asdict(retry_run(run.run_id, from_stage=self._options["from_stage"], **given))


_WORDS = {"stopping": "asked to stop", "finished": "finished before", "left": "retried with another run"}


def told(counts: dict[str, int]) -> str:
    """Write counts in a line, those of nothing left out."""
    parts: Iterable[str] = (f"{count} {_WORDS.get(name, name)}" for name, count in counts.items() if count)
    return ", ".join(parts) or "nothing to do"


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
