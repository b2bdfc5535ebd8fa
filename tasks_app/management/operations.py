"""What the commands of operations share: options made from the params, previews, confirmation, and what is written."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db.models import Model

from tasks_app.errors import AbsurdError
from tasks_app.management.arguments import ago, moment, whole
from tasks_app.management.printing import bar
from tasks_app.management.shell import ShellCommand, actor, exit_code_of, refuse
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.operation import (
    Counts,
    Operation,
    Pace,
    ParamField,
    PreviewedOperation,
    TargetKind,
    fields_of,
)

TYPED_ABOVE = 100
"""Of more tasks than this the number must be typed."""


def add_params(parser: CommandParser, operation: Operation[Any, Any], *, without: Sequence[str] = ()) -> None:
    """Declare an option for each param of the operation."""
    for field in fields_of(operation.params_model):
        if field.name in without:
            continue
        option = f"--{field.name.replace('_', '-')}"
        about: dict[str, Any] = {"help": field.description.replace("%", "%%")}
        if field.choices:
            parser.add_argument(
                field.name, choices=field.choices, metavar=field.name.upper(), help=", ".join(field.choices)
            )
        elif field.kind == "flag":
            parser.add_argument(option, action="store_true", **about)
        else:
            parser.add_argument(option, type=_reader(field), required=field.required, metavar=_metavar(field), **about)


def given_in(options: Mapping[str, Any], operation: Operation[Any, Any]) -> dict[str, Any]:
    """Return the params that were given as options."""
    given = {}
    for field in fields_of(operation.params_model):
        value = options.get(field.name)
        if value is not None and not (field.kind == "flag" and value is False):
            given[field.name] = ago(value) if isinstance(value, (datetime, timedelta)) else value
    return given


def _reader(field: ParamField) -> Any:
    if field.kind == "number":
        return whole(field.minimum or 0, field.maximum if field.maximum is not None else 10**9)
    return {"moment": moment, "object": _object, "text": str}[field.kind]


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("write a JSON object")
    return found


def _metavar(field: ParamField) -> str:
    return {"number": "N", "moment": "MOMENT", "object": "JSON"}.get(field.kind, "TEXT")


class OperationCommand(ShellCommand):
    """A command that carries out one operation."""

    operation: ClassVar[Operation[Any, Any]]
    codes: ClassVar[str] = "Exit codes: 0 ok, 1 not confirmed, 2 usage."
    without: ClassVar[tuple[str, ...]] = ()
    """Params that have no option of their own."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "operation" in vars(cls):
            cls.help = f"{cls.operation.effect} {cls.codes}"

    def add_arguments(self, parser: CommandParser) -> None:
        add_params(parser, self.operation, without=self.without)
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def given(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the params of the operation."""
        return given_in(options, self.operation)


class SystemCommand(OperationCommand):
    """An operation on the whole system; one that is dangerous asks first."""

    def act(self, options: dict[str, Any]) -> None:
        """Ask, do it, and say what holds now."""
        operation = self.operation
        params = operation.params_model.parse(self.given(options))
        if options["dry_run"]:
            refusal = operation.refusal(None)
            self._write({"dry_run": True, "refusal": refusal}, refusal or f"would {operation.name}", options)
            return
        if operation.dangerous:
            self.confirm(f"{operation.label}? {operation.effect}", options)
        result = operation.act(None, params, actor())
        self._write(_row(result), operation.outcome(result), options)

    def _write(self, content: Any, line: str, options: dict[str, Any]) -> None:
        if options["json"]:
            self.write_json(content)
        else:
            self.stdout.write(line)


def _row(found: Model) -> dict[str, Any]:
    return {field.name: getattr(found, field.name) for field in found._meta.fields if field.name != "id"}


class EmergencyCommand(OperationCommand):
    """An operation on everything: its plan in numbered lines, then a word to type."""

    operation: ClassVar[PreviewedOperation[Any, Any]]
    heading: ClassVar[str]

    def plan(self, params: Any, counts: Any) -> Iterator[str]:
        """Yield what will be done, line by line."""
        raise NotImplementedError

    def typed(self, affected: int) -> str:
        """Return the word that must be typed; empty: yes is enough."""
        return str(affected) if affected > TYPED_ABOVE else ""

    def act(self, options: dict[str, Any]) -> None:
        """Show the plan, ask, do it."""
        params = self.operation.params_model.parse(self.given(options))
        counts = self.operation.preview(None, params)
        affected = self.operation.affected(counts, params)
        if not options["json"]:
            self.stdout.write(f"{self.heading}{f': {params.reason}' if params.reason else ''}")
            for number, line in enumerate(self.plan(params, counts), start=1):
                self.stdout.write(f"  {number}. {line}")
        if not options["dry_run"]:
            self.confirm("Continue?", options, typed=self.typed(affected))
            with bar(self.operation.name, affected) as advance:
                counts = self.operation.carry_out(None, params, actor(), Pace(on_progress=advance))
        self._write(params, counts, options)

    def _write(self, params: Any, counts: Counts, options: dict[str, Any]) -> None:
        if options["json"]:
            request = params.without_reason()
            self.write_json({"dry_run": options["dry_run"], "request": request, "counts": counts.model_dump()})
        elif options["dry_run"]:
            self.stdout.write("(dry run: nothing was done)")
        else:
            self.stdout.write(self.operation.outcome(counts))


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an operation is done to."""

    key: Any
    label: str
    """As people know it."""
    identity: Mapping[str, Any]
    """As programs know it."""
    row: Any
    """What refusals are told from."""


class TargetCommand(ShellCommand):
    """`manage.py absurd_… ACTION TARGET`: readings of one kind of target, and its operations from the catalogue."""

    target_kind: ClassVar[TargetKind]
    metavar: ClassVar[str] = "NAME"
    target_help: ClassVar[str] = "its name"
    target_parts: ClassVar[int] = 1
    """How many words name a target."""

    def add_readings(self, subparsers: Any) -> None:
        """Declare the actions that only read."""

    def add_selection(self, parser: CommandParser) -> None:
        """Declare options that select several targets."""

    def read(self, options: dict[str, Any]) -> None:
        """Carry out an action that only reads."""
        raise NotImplementedError

    def find(self, text: str) -> Target:
        """Return the target that is meant. Raises AbsurdError."""
        raise NotImplementedError

    def selected(self, options: dict[str, Any]) -> list[Target] | None:
        """Return the targets that options select, or None where they select none."""
        return None

    def add_arguments(self, parser: CommandParser) -> None:
        operations = operations_on(self.target_kind)
        subparsers = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        self.add_readings(subparsers)
        for each in operations:
            own = subparsers.add_parser(each.name, allow_abbrev=False, help=each.effect)
            own.add_argument("targets", nargs="*", metavar=self.metavar, help=self.target_help)
            self.add_selection(own)
            add_params(own, each)
            own.add_argument("--dry-run", action="store_true", help="only say what would be done")
            own.add_argument("--yes", action="store_true", help="do not ask")
        for own in subparsers.choices.values():
            own.add_argument("--json", action="store_true", help="write JSON")
        parser.usage = f"%(prog)s {{{','.join(subparsers.choices)}}} …"

    def act(self, options: dict[str, Any]) -> None:
        """Read, or carry out the operation."""
        operation = next((each for each in operations_on(self.target_kind) if each.name == options["action"]), None)
        if operation is None:
            self.read(options)
        else:
            self._operate(operation, options)

    def _operate(self, operation: Operation[Any, Any], options: dict[str, Any]) -> None:
        selected = self.selected(options)
        if bool(options["targets"]) == (selected is not None):
            refuse(f"name the {self.target_kind} to {operation.name}, or select it by options, not both")
        targets = self._named(options["targets"]) if selected is None else selected
        params = operation.params_model.parse(given_in(options, operation))
        if not options["dry_run"] and (selected is not None or isinstance(operation, PreviewedOperation)):
            self.confirm(f"{operation.label} {self._summary(operation, targets, params)}?", options)
        results, refused = [], []
        for target in targets:
            try:
                results.append((target, *self._one(operation, target, params, dry_run=options["dry_run"])))
            except AbsurdError as error:
                refused.append((target, error))
        self._write(operation, results, refused, options)

    def _named(self, texts: Sequence[str]) -> list[Target]:
        if self.target_parts == 1:
            return [self.find(text) for text in texts]
        if len(texts) != self.target_parts:
            refuse(f"name the {self.target_kind} as {self.metavar}")
        return [self.find(" ".join(texts))]

    def _summary(self, operation: Operation[Any, Any], targets: Sequence[Target], params: Any) -> str:
        names = ", ".join(target.label for target in targets)
        if isinstance(operation, PreviewedOperation) and targets:
            return f"{names} ({operation.outcome(operation.preview(targets[0].key, params))})"
        return f"{names} ({operation.effect})"

    def _one(
        self, operation: Operation[Any, Any], target: Target, params: Any, *, dry_run: bool
    ) -> tuple[str, Mapping[str, Any]]:
        """Return what has become of the target, in words and for programs."""
        if isinstance(operation, PreviewedOperation):
            counts = operation.preview(target.key, params) if dry_run else operation.act(target.key, params, actor())
            return operation.outcome(counts), {"counts": counts.model_dump()}
        if dry_run:
            refusal = operation.refusal(target.row)
            return refusal or f"would be {operation.done or operation.name}", {"refusal": refusal}
        result = operation.act(target.key, params, actor())
        return operation.outcome(result), self.details_of(result)

    def details_of(self, result: Any) -> Mapping[str, Any]:
        """Return what programs are told of a result."""
        return {}

    def _write(
        self,
        operation: Operation[Any, Any],
        results: Sequence[tuple[Target, str, Mapping[str, Any]]],
        refused: Sequence[tuple[Target, AbsurdError]],
        options: dict[str, Any],
    ) -> None:
        note = " (dry run: nothing was done)" if options["dry_run"] else ""
        if options["json"]:
            done = [{**target.identity, "outcome": outcome, **more} for target, outcome, more in results]
            faults = [{**target.identity, "code": error.code, "message": str(error)} for target, error in refused]
            content = {"operation": operation.name, "dry_run": options["dry_run"], "done": done, "refused": faults}
            self.write_json(content)
        else:
            for target, outcome, _ in results:
                self.stdout.write(f"{target.label}: {outcome}{note}")
            if not results and not refused:
                self.stdout.write(f"no {self.target_kind} is selected")
        if refused:
            _, first = refused[0]
            message = str(first) if len(refused) == 1 else f"{len(refused)} refused: {first}"
            raise CommandError(message, returncode=exit_code_of(first))
