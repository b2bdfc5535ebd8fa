"""Operations on the whole system: freeze and thaw, enable and disable, acknowledge a finding of health."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from django.db import transaction
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tasks_app.engine import notify
from tasks_app.engine.events import announce
from tasks_app.errors import AlreadyFrozen, NotFrozen
from tasks_app.models import Acknowledgement, Freeze, Queue, SystemState
from tasks_app.monitoring.health.faults import findings
from tasks_app.operations.operation import Operation, P, Params, R, ReasonedParams, row_of
from tasks_app.postgresql import clock


def current_freeze() -> Freeze | None:
    """Return the freeze that holds now, if any."""
    return Freeze.objects.first()


@dataclass(frozen=True, kw_only=True)
class SystemNow:
    """What holds for the whole system."""

    frozen: Freeze | None
    state: SystemState | None
    """Whether it is enabled, once a process has stored that."""

    @classmethod
    def of(cls, target: object) -> SystemNow:
        """Return what was read already, or read it."""
        return target if isinstance(target, cls) else cls(frozen=current_freeze(), state=SystemState.objects.first())


class SystemOperation(Operation[P, R]):
    """It has no key: there is one system. The target of a refusal may be a SystemNow, which is then not read again."""

    target_kind = "system"


class FreezeAll(SystemOperation[ReasonedParams, Freeze]):
    """Stops all claims at once: from its commit on nothing is claimed anywhere. Sweeps and schedules go on."""

    name = "freeze"
    label = "Freeze"
    effect = "No task of any queue is claimed until it is thawed. Claimed tasks continue; new ones wait."
    done = "everything is frozen; claimed tasks continue"
    permission = "tasks_app.freeze_everything"
    event_types = ("frozen",)
    params_model = ReasonedParams
    dangerous = True

    def refusal(self, target: object) -> str:
        frozen = SystemNow.of(target).frozen
        return f"it was frozen by {frozen.frozen_by}: {frozen.reason}" if frozen else ""

    @transaction.atomic
    def act(self, key: None, params: ReasonedParams, actor: str) -> Freeze:
        """Freeze. Raises AlreadyFrozen, naming who did it and why."""
        frozen, created = Freeze.objects.get_or_create(
            id=1, defaults={"frozen_by": actor, "reason": params.reason, "frozen_at": clock.now()}
        )
        if not created:
            raise AlreadyFrozen(frozen.frozen_by, frozen.frozen_at, frozen.reason)
        announce(self.change(params, actor))
        return frozen


class Thaw(SystemOperation[Params, Freeze]):
    """Lets tasks be claimed again; returns the freeze that has ended."""

    name = "thaw"
    label = "Thaw"
    effect = "Tasks are claimed again."
    permission = "tasks_app.freeze_everything"
    event_types = ("thawed",)
    params_model = Params

    def refusal(self, target: object) -> str:
        return "" if SystemNow.of(target).frozen else "nothing is frozen"

    @transaction.atomic
    def act(self, key: None, params: Params, actor: str) -> Freeze:
        """Thaw. Raises NotFrozen."""
        frozen = row_of(Freeze.objects.select_for_update(), NotFrozen())
        Freeze.objects.all().delete()
        announce(self.change(params, actor))
        notify.wake_workers(Queue.objects.values_list("name", flat=True))
        return frozen

    def outcome(self, result: Freeze) -> str:
        since = f"it was frozen {clock.stamp(result.frozen_at)} by {result.frozen_by}: {result.reason}"
        return f"tasks are claimed again; {since}"


class SwitchSystem(SystemOperation[Params, SystemState]):
    """Changes whether tasks are accepted and claimed at all; nothing where that is so already."""

    permission = "tasks_app.change_systemstate"
    scope = "admin"
    enabled: bool

    def refusal(self, target: object) -> str:
        state = SystemNow.of(target).state
        if state is None or state.enabled != self.enabled:
            return ""
        return f"it was {state} by {state.changed_by}" + (f": {state.reason}" if state.reason else "")

    @transaction.atomic
    def act(self, key: None, params: Params, actor: str) -> SystemState:
        state = SystemState.objects.select_for_update().first()
        if state is None or state.enabled != self.enabled:
            values = {"changed_by": actor, "changed_at": clock.now(), "reason": params.reason}
            state, _ = SystemState.objects.update_or_create(id=1, defaults={"enabled": self.enabled, **values})
            announce(self.change(params, actor))
        if self.enabled:
            notify.wake_workers(Queue.objects.values_list("name", flat=True))
        return state

    def outcome(self, result: SystemState) -> str:
        reason = f" ({result.reason})" if result.reason else ""
        return f"Absurd is {result} since {clock.stamp(result.changed_at)} by {result.changed_by}{reason}"


enable = SwitchSystem(
    name="enable",
    label="Enable",
    effect="Tasks are accepted and claimed again, by all processes and hosts.",
    event_types=("enabled",),
    params_model=Params,
    enabled=True,
)
disable = SwitchSystem(
    name="disable",
    label="Disable",
    effect="New tasks are refused and none is claimed; running attempts continue.",
    event_types=("disabled",),
    params_model=ReasonedParams,
    dangerous=True,
    enabled=False,
)


def _known_finding(text: str) -> str:
    if text not in findings():
        raise PydanticCustomError(
            "finding", "must be one of {known} (got {finding})", {"known": ", ".join(findings()), "finding": repr(text)}
        )
    return text


class AcknowledgeParams(Params):
    """Which finding of health has been seen, and why it needs no further attention."""

    finding: Annotated[str, AfterValidator(_known_finding)] = Field(
        description="Name of the check.", json_schema_extra=lambda schema: schema.update({"enum": [*findings()]})
    )


class Acknowledge(SystemOperation[AcknowledgeParams, Acknowledgement]):
    """Hides what a finding of health has reported until now; later faults of the same kind show again."""

    name = "acknowledge"
    label = "Acknowledge"
    effect = "What the finding has reported until now no longer counts; later faults of the same kind do."
    permission = "tasks_app.add_acknowledgement"
    event_types = ("acknowledged",)
    params_model = AcknowledgeParams

    @transaction.atomic
    def act(self, key: None, params: AcknowledgeParams, actor: str) -> Acknowledgement:
        seen, _ = Acknowledgement.objects.update_or_create(
            finding=params.finding.replace("-", " "),
            defaults={"acknowledged_at": clock.now(), "acknowledged_by": actor, "reason": params.reason},
        )
        announce(self.change(params, actor, finding=params.finding))
        return seen

    def outcome(self, result: Acknowledgement) -> str:
        return f"{result.finding}: acknowledged until {clock.stamp(result.acknowledged_at)}"


freeze, thaw, acknowledge = FreezeAll(), Thaw(), Acknowledge()
