"""An operation: what a person does to a task, run, worker, queue, schedule or limit, or to the whole system.

It is described once, as a subclass, and found in `catalogue.OPERATIONS`, to which applications add theirs; REST,
console, shell and client are made from that description. An instance is called with the key of its target:
`cancel(task_id, actor="user:ann", reason="…")`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.db.models import Model, QuerySet
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from tasks_app import formats
from tasks_app.auth.keys import Need, Scope
from tasks_app.engine.events import Change
from tasks_app.errors import AbsurdError, ConfirmationRefused, SelectionChanged
from tasks_app.validation import Checked

TargetKind = str
"""Such as task or queue; its path in the API is in `routes.TARGETS`."""
REASON_CHARS = 2000


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("reason_missing", "must not be blank: it is shown to those who find this stopped")
    return text


RequiredReason = Annotated[
    str,
    AfterValidator(_not_blank),
    Field(max_length=REASON_CHARS, description="The reason; recorded and shown.", json_schema_extra={"pattern": r"\S"}),
]


class Params(Checked):
    """The reason of an operation."""

    model_config = ConfigDict(strict=True)

    reason: str = Field(default="", max_length=REASON_CHARS, description="The reason; recorded with the event.")

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """Return the params. Raises ParamsInvalid with the path of each bad field."""
        return cls.model_validate(dict(given))

    @classmethod
    def needs_reason(cls) -> bool:
        """Return whether the reason must be given."""
        return cls.model_fields["reason"].is_required()

    def without_reason(self) -> dict[str, Any]:
        """Return what decides what is done, in values that JSON has."""
        return self.model_dump(mode="json", exclude={"reason"})


class ReasonedParams(Params):
    """The required reason of an operation that stops the work of others."""

    reason: RequiredReason


def partial_params(name: str, doc: str, model: type[BaseModel], names: Iterable[str]) -> Any:
    """Return params that are some fields of a model, each of which may be left out and is None then."""
    fields: dict[str, Any] = {}
    for each in names:
        field = copy(model.model_fields[each])
        field.default, field.default_factory = None, None
        fields[each] = (field.annotation | None, field)  # type: ignore[operator]
    return create_model(name, __base__=Params, __doc__=doc, **fields)


class Counts(BaseModel):
    """What an operation did, or would do, counted."""

    model_config = ConfigDict(frozen=True)

    def lines(self) -> list[str]:
        """Return what is not zero, in words."""
        return [
            formats.counted(number, type(self).model_fields[name].title or name)
            for name, number in self
            if number and not isinstance(number, bool)
        ]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How an operation on many tasks is carried out."""

    limit_sec: float | None = None
    """What is not reached by then is left and counted."""
    on_progress: Callable[[int], object] | None = None
    """Called with the number of tasks dealt with since the last call."""

    def after(self, spent_sec: float) -> Pace:
        """Return what is left of it for the next part of the operation."""
        limit_sec = None if self.limit_sec is None else max(0.0, self.limit_sec - spent_sec)
        return replace(self, limit_sec=limit_sec)


P = TypeVar("P", bound=Params)
R = TypeVar("R")
C = TypeVar("C", bound=Counts)
M = TypeVar("M", bound=Model)


class Operation(ABC, Generic[P, R]):
    """One operation; `R` is what it returns: the target as it is then, or counts."""

    target_kind: ClassVar[TargetKind]
    name: ClassVar[str]
    label: ClassVar[str]
    effect: ClassVar[str]
    """What it does, in a sentence or two."""
    done: ClassVar[str] = ""
    """What has become of the target."""
    permission: ClassVar[str]
    """Of Django, for people."""
    scope: ClassVar[Scope] = "operate"
    """Of API keys."""
    event_types: ClassVar[tuple[str, ...]]
    """The events that it may write."""
    dangerous: ClassVar[bool] = False
    do_not_call_in_templates: ClassVar[bool] = True
    """Django's templates call what they can."""
    params_model: type[P]

    def __init__(self, **attributes: Any) -> None:
        """Describe one of several operations that differ in their attributes only."""
        vars(self).update(attributes)

    @property
    def need(self) -> Need:
        """What a caller must have."""
        return Need(scope=self.scope, permission=self.permission)

    def refusal(self, target: Any) -> str:
        """Return why it cannot be done to the target now, or would change nothing; empty when it can."""
        return ""

    def initial(self, target: Any) -> dict[str, Any]:
        """Return the params from which somebody starts who edits them."""
        return {}

    @abstractmethod
    def act(self, key: Any, params: P, actor: str) -> R:
        """Do it in one transaction, with its event. Raises AbsurdError."""

    def outcome(self, result: R) -> str:
        """Return what has become of the target."""
        return self.done

    def change(self, params: Params, actor: str, **detail: Any) -> Change:
        """Return the event that records it."""
        return Change(event_type=self.event_types[0], actor=actor, reason=params.reason, detail=detail)

    def __call__(self, *key: Any, actor: str, **given: Any) -> R:
        """Do it to the target of that key: none for the system, scope and name for a limit. Raises AbsurdError."""
        return self.act(key_of(key), self.params_model.parse(given), actor)

    def __repr__(self) -> str:
        return f"<{self.target_kind} {self.name}>"


class PreviewedOperation(Operation[P, C]):
    """An operation that counts beforehand what it would do."""

    counts_model: type[C]
    token_required: ClassVar[bool] = False
    """Whether a request must carry the token of a dry run."""

    @abstractmethod
    def preview(self, key: Any, params: P) -> C:
        """Return what it would do now. Raises AbsurdError when it would be refused."""

    @abstractmethod
    def affected(self, counts: C, params: P) -> int:
        """Return how many tasks it changes: what somebody agrees to who has seen the counts."""

    @abstractmethod
    def carry_out(self, key: Any, params: P, actor: str, pace: Pace) -> C:
        """Do it. Raises AbsurdError."""

    def act(self, key: Any, params: P, actor: str) -> C:
        return self.carry_out(key, params, actor, Pace())

    def outcome(self, result: C) -> str:
        return ", ".join(result.lines()) or "nothing to do"


def row_of(rows: QuerySet[M], missing: AbsurdError) -> M:
    """Return the first row of a selection. Raises `missing` where there is none."""
    row = rows.first()
    if row is None:
        raise missing
    return row


def key_of(parts: tuple[Any, ...]) -> Any:
    """Return the key of a target from its parts."""
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else parts


SALT = "tasks_app.operations"
TOKEN_SEC = 600
GROWTH_MOST = 1.1
SPARE_TASKS = 2


@dataclass(frozen=True, kw_only=True)
class SelectionGuard:
    """How many tasks somebody was shown; a tenth more, or `spare` more, may be changed without another dry run."""

    shown: int
    spare: int = 0

    def allows(self, count: int) -> bool:
        """Return whether so few more match now that the agreement holds."""
        return count <= max(self.shown * GROWTH_MOST, self.shown + self.spare)

    def check(self, count: int) -> None:
        """Raise SelectionChanged when too many more match now."""
        if not self.allows(count):
            raise SelectionChanged(self.shown, count)


def token_of(request: Mapping[str, Any], count: int) -> str:
    """Return the token of a dry run that showed that many tasks; `request` must be the same when it is used."""
    return TimestampSigner(salt=SALT).sign_object({**request, "count": count})


def check_token(token: str, request: Mapping[str, Any], count: int) -> None:
    """Raise ConfirmationRefused for the token of another request, SelectionChanged when many more tasks match now."""
    try:
        signed = TimestampSigner(salt=SALT).unsign_object(token, max_age=TOKEN_SEC)
    except SignatureExpired:
        raise ConfirmationRefused("has expired") from None
    except (BadSignature, ValueError):
        raise ConfirmationRefused("was not issued by this server") from None
    shown = signed.pop("count")
    if signed != request:
        names = sorted(name for name in {*signed, *request} if signed.get(name) != request.get(name))
        raise ConfirmationRefused(f"was issued for another {', '.join(names)}")
    SelectionGuard(shown=shown, spare=SPARE_TASKS).check(count)
