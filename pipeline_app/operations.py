"""What people do to the pipeline's results: refuse a calibration."""

from __future__ import annotations

from django.db import transaction

from pipeline_app.models import Calibration
from tasks_app.engine.events import Change, announce
from tasks_app.errors import AbsurdError
from tasks_app.operations.operation import Operation, ReasonedParams
from tasks_app.plain_text import escaped


class CalibrationGone(AbsurdError):
    """There is no such calibration."""


class CalibrationRefused(AbsurdError):
    """It is refused already."""


class RefuseCalibration(Operation[ReasonedParams, Calibration]):
    """Gives a calibration the verdict fail by hand; the planner passes over those."""

    target_kind = "calibration"  # type: ignore[assignment]  # the queue's own kinds do not include it
    name = "refuse"
    label = "Refuse"
    effect = (
        "It gets the verdict fail: no target is given it from now on. Tasks that were spawned with it run on, and what "
        "was made from it keeps its verdict."
    )
    done = "refused; no target is given it from now on"
    permission = "pipeline_app.refuse_calibration"
    event_types = ("calibration_refused",)
    params_model = ReasonedParams
    dangerous = True

    def refusal(self, target: Calibration) -> str:
        return f"its verdict is fail already: {'; '.join(target.reasons)}" if target.verdict == "fail" else ""

    @transaction.atomic
    def act(self, key: int, params: ReasonedParams, actor: str) -> Calibration:
        """Refuse it. Raises CalibrationGone and CalibrationRefused."""
        calibration = Calibration.objects.select_for_update().filter(pk=key).first()
        if calibration is None:
            raise CalibrationGone(f"there is no calibration {key}")
        if refusal := self.refusal(calibration):
            raise CalibrationRefused(f"{calibration} cannot be refused: {refusal}")
        calibration.verdict = "fail"
        calibration.reasons = [escaped(f"refused by {actor}: {params.reason}"), *calibration.reasons]
        calibration.save(update_fields=["verdict", "reasons"])
        detail = {"calibration_id": calibration.pk, "path": calibration.path}
        announce(Change(event_type="calibration_refused", actor=actor, reason=params.reason, detail=detail))
        return calibration


refuse_calibration = RefuseCalibration()
