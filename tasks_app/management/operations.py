"""The base classes of the commands that carry out operations: arguments, preview, confirmation, output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db.models import Model

from tasks_app.errors import AbsurdError
from tasks_app.management.arguments import add_fields, ago, fields_in
from tasks_app.management.printing import bar
from tasks_app.management.shell import DRY_RUN, ShellCommand, actor, exit_code_of, refuse
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.operation import Operation, Pace, PreviewedOperation, TargetKind

TYPED_ABOVE = 100
"""Above this number of tasks the number must be typed."""


def add_confirmation(parser: CommandParser) -> None:
    """Declare the options of every command that changes something."""
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")


class OperationCommand(ShellCommand):
    """A command that carries out one operation."""

    operation: ClassVar[Operation[Any, Any]]
    codes: ClassVar[str] = "Exit codes: 0 ok, 1 not confirmed, 2 usage, 4 the state does not allow it."
    without: ClassVar[tuple[str, ...]] = ()
    """Params that have no option of their own."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "operation" in vars(cls):
            cls.help = f"{cls.operation.effect} {cls.codes}"

    def add_arguments(self, parser: CommandParser) -> None:
        add_fields(parser, self.operation.params_model, without=self.without)
        add_confirmation(parser)
        parser.add_argument("--json", action="store_true", help="write JSON")

    def given(self, options: dict[str, Any]) -> dict[str, Any]:
        return fields_in(options, self.operation.params_model, without=self.without, counted=ago)

    def params(self, options: dict[str, Any]) -> Any:
        return self.operation.params_model.parse(self.given(options))


class SystemCommand(OperationCommand):
    """An operation on the whole system; a dangerous one needs confirmation."""

    def act(self, options: dict[str, Any]) -> None:
        operation, params = self.operation, self.params(options)
        if options["dry_run"]:
            refusal = operation.refusal(None)
            self.show(options, {"dry_run": True, "refusal": refusal}, [refusal or f"would {operation.name}"])
            return
        if operation.dangerous:
            self.confirm(f"{operation.label}? {operation.effect}", options)
        result = operation.act(None, params, actor())
        self.show(options, _row(result), [operation.outcome(result)])


def _row(found: Model) -> dict[str, Any]:
    return {field.name: getattr(found, field.name) for field in found._meta.fields if field.name != "id"}


class EmergencyCommand(OperationCommand):
    """An operation on everything: its plan in numbered lines, then a word to type."""

    operation: ClassVar[PreviewedOperation[Any, Any]]
    heading: ClassVar[str]

    @abstractmethod
    def plan(self, params: Any, counts: Any) -> Iterator[str]:
        """Yield what will be done, line by line."""

    def typed(self, affected: int) -> str:
        """Return the word that must be typed; empty: yes is enough."""
        return str(affected) if affected > TYPED_ABOVE else ""

    def act(self, options: dict[str, Any]) -> None:
        params = self.params(options)
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
        request = params.without_reason()
        self.show(
            options,
            {"dry_run": options["dry_run"], "request": request, "counts": counts.model_dump()},
            [DRY_RUN.strip() if options["dry_run"] else self.operation.outcome(counts)],
        )


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an operation is done to."""

    key: Any
    label: str
    """Its name in lines."""
    identity: Mapping[str, Any]
    """Its name in JSON."""
    row: Any
    """What a refusal depends on."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of one target, in words and as JSON; for a refused one the error."""

    target: Target
    outcome: str = ""
    detail: Mapping[str, Any]
    error: AbsurdError | None = None


class TargetCommand(ShellCommand):
    """`manage.py absurd_… ACTION TARGET`: actions that read one kind of target, and its operations."""

    target_kind: ClassVar[TargetKind]
    metavar: ClassVar[str] = "NAME"
    target_help: ClassVar[str] = "its name"
    target_parts: ClassVar[int] = 1
    """How many words name a target."""

    def add_readings(self, subparsers: Any) -> None:
        """Declare the actions that only read; `name` is carried out by the method `read_name`."""

    def add_selection(self, parser: CommandParser) -> None:
        """Declare options that select several targets."""

    @abstractmethod
    def find(self, text: str) -> Target:
        """Return the named target. Raises AbsurdError."""

    def selected(self, options: dict[str, Any]) -> list[Target] | None:
        """Return the targets that options select, or None where they select none."""
        return None

    def details_of(self, result: Any) -> Mapping[str, Any]:
        """Return what JSON contains of a result."""
        return {}

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        self.add_readings(subparsers)
        for each in operations_on(self.target_kind):
            own = subparsers.add_parser(each.name, allow_abbrev=False, help=each.effect)
            own.add_argument("targets", nargs="*", metavar=self.metavar, help=self.target_help)
            self.add_selection(own)
            add_fields(own, each.params_model)
            add_confirmation(own)
        for own in subparsers.choices.values():
            own.add_argument("--json", action="store_true", help="write JSON")
        parser.usage = f"%(prog)s {{{','.join(subparsers.choices)}}} …"

    def act(self, options: dict[str, Any]) -> None:
        operation = next((each for each in operations_on(self.target_kind) if each.name == options["action"]), None)
        if operation is None:
            getattr(self, f"read_{options['action']}")(options)
            return
        selected = self.selected(options)
        if bool(options["targets"]) == (selected is not None):
            refuse(f"name the {self.target_kind} to {operation.name}, or select it by options, not both")
        targets = self._named(options["targets"]) if selected is None else selected
        params = operation.params_model.parse(fields_in(options, operation.params_model, counted=ago))
        if not options["dry_run"] and (selected is not None or isinstance(operation, PreviewedOperation)):
            self.confirm(f"{operation.label} {_summary(operation, targets, params)}?", options)
        done = [self._one(operation, target, params, dry_run=options["dry_run"]) for target in targets]
        self._write(operation, done, options)

    def _named(self, texts: Sequence[str]) -> list[Target]:
        if self.target_parts == 1:
            return [self.find(text) for text in texts]
        if len(texts) != self.target_parts:
            refuse(f"name the {self.target_kind} as {self.metavar}")
        return [self.find(" ".join(texts))]

    def _one(self, operation: Operation[Any, Any], target: Target, params: Any, *, dry_run: bool) -> Done:
        try:
            if isinstance(operation, PreviewedOperation):
                act = operation.preview if dry_run else partial(operation.act, actor=actor())
                counts = act(target.key, params)
                return Done(target=target, outcome=operation.outcome(counts), detail={"counts": counts.model_dump()})
            if dry_run:
                refusal = operation.refusal(target.row)
                outcome = refusal or f"would be {operation.done or operation.name}"
                return Done(target=target, outcome=outcome, detail={"refusal": refusal})
            result = operation.act(target.key, params, actor())
            return Done(target=target, outcome=operation.outcome(result), detail=self.details_of(result))
        except AbsurdError as error:
            return Done(target=target, detail={"code": error.code, "message": str(error)}, error=error)

    def _write(self, operation: Operation[Any, Any], results: Sequence[Done], options: dict[str, Any]) -> None:
        note = DRY_RUN if options["dry_run"] else ""
        done = [each for each in results if each.error is None]
        errors = [each.error for each in results if each.error is not None]
        content = {
            "operation": operation.name,
            "dry_run": options["dry_run"],
            "done": [{**each.target.identity, "outcome": each.outcome, **each.detail} for each in done],
            "refused": [{**each.target.identity, **each.detail} for each in results if each.error is not None],
        }
        lines = [f"{each.target.label}: {each.outcome}{note}" for each in done]
        self.show(options, content, lines if results else [f"no {self.target_kind} is selected"])
        if errors:
            message = str(errors[0]) if len(errors) == 1 else f"{len(errors)} refused: {errors[0]}"
            raise CommandError(message, returncode=exit_code_of(errors[0]))


def _summary(operation: Operation[Any, Any], targets: Sequence[Target], params: Any) -> str:
    names = ", ".join(target.label for target in targets)
    if isinstance(operation, PreviewedOperation) and targets:
        return f"{names} ({operation.outcome(operation.preview(targets[0].key, params))})"
    return f"{names} ({operation.effect})"
