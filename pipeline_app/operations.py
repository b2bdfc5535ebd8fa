"""What people do to the pipeline's results: refuse a calibration, accept it again, vote on an image."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

from django.db import transaction
from pydantic import Field

from pipeline_app.models import Calibration, ImageVote, Product
from tasks_app.engine.events import announce
from tasks_app.errors import NotFound, OperationRefused
from tasks_app.formats import escaped
from tasks_app.operations import catalogue
from tasks_app.operations.operation import Operation, ReasonedParams, row_of


class CalibrationNotFound(NotFound):
    """No calibration has that key."""

    code = "calibration_not_found"
    text = "there is no calibration {}; see the list of calibrations for their keys"


class ImageNotFound(NotFound):
    """No image has that key."""

    code = "image_not_found"
    text = "there is no image {}; see the products of the kind image for their keys"


class CalibrationOperation(Operation[ReasonedParams, Calibration]):
    """Changes the verdict of a calibration; its key is that of the row."""

    target_kind = "calibration"
    permission = "pipeline_app.refuse_calibration"
    params_model = ReasonedParams
    dangerous = True

    @abstractmethod
    def change_verdict(self, target: Calibration, params: ReasonedParams, actor: str) -> None:
        """Set its verdict and reasons."""

    @transaction.atomic
    def act(self, key: int, params: ReasonedParams, actor: str) -> Calibration:
        """Raises CalibrationNotFound and OperationRefused."""
        calibration = row_of(Calibration.objects.select_for_update().filter(pk=key), CalibrationNotFound(key))
        if refusal := self.refusal(calibration):
            raise OperationRefused(self.name, calibration, refusal)
        before = calibration.verdict
        self.change_verdict(calibration, params, actor)
        calibration.save(update_fields=["verdict", "reasons"])
        detail = {"calibration_id": key, "path": calibration.path, "from": before, "to": calibration.verdict}
        about = f"calibration {key}, {calibration.observation or calibration.path}"
        announce(self.change(params, actor, about=about, **detail))
        return calibration

    def outcome(self, result: Calibration) -> str:
        use = "no target is given it from now on" if result.verdict == "fail" else "targets may be given it"
        return f"{self.done}; its verdict is {result.verdict} now: {use}"


class RefuseCalibration(CalibrationOperation):
    """Gives a calibration the verdict fail by hand; the planner passes over those."""

    name = "refuse"
    label = "Refuse"
    effect = (
        "It gets the verdict fail: no target is given it from now on. Tasks that were spawned with it run on, and what "
        "was made from it keeps its verdict."
    )
    done = "refused"
    event_types = ("calibration_refused",)

    def refusal(self, target: Calibration) -> str:
        return f"its verdict is fail already: {'; '.join(target.reasons)}" if target.verdict == "fail" else ""

    def change_verdict(self, target: Calibration, params: ReasonedParams, actor: str) -> None:
        target.verdict = "fail"
        target.reasons = [escaped(f"refused by {actor}: {params.reason}"), *target.reasons]


class AcceptCalibration(CalibrationOperation):
    """Takes a refusal by hand back."""

    name = "accept"
    label = "Accept again"
    effect = (
        "It gets back the verdict that it was solved with, and targets are given it again. What was calibrated with "
        "another one meanwhile stays as it is."
    )
    done = "accepted again"
    event_types = ("calibration_accepted",)

    def refusal(self, target: Calibration) -> str:
        solved = _solved_verdict(target)
        if target.verdict != "fail" or solved == "fail":
            return f"it was not refused by hand; it was solved with the verdict {solved or target.verdict}"
        return "" if solved else "the product with the verdict that it was solved with is gone"

    def change_verdict(self, target: Calibration, params: ReasonedParams, actor: str) -> None:
        target.verdict = _solved_verdict(target)
        # The first reason is that of the refusal.
        target.reasons = target.reasons[1:]


def _solved_verdict(calibration: Calibration) -> str:
    """Return the verdict of the solving stage, which its product keeps; empty where there is none."""
    return Product.objects.filter(path=calibration.path).values_list("verdict", flat=True).first() or ""


class VoteParams(ReasonedParams):
    """A vote and a comment."""

    vote: Literal["good", "bad"] = Field(description="good: fit for science; bad: not.")


class VoteOnImage(Operation[VoteParams, Product]):
    """Records what a person thinks of an image; its key is that of the product."""

    target_kind = "image"
    name = "vote"
    label = "Vote on"
    effect = (
        "The vote and the reason, as its comment, are shown with the image. One vote a person: a second one replaces "
        "the first. It changes no verdict."
    )
    done = "voted on"
    permission = "pipeline_app.vote_image"
    event_types = ("image_voted",)
    params_model = VoteParams

    @transaction.atomic
    def act(self, key: int, params: VoteParams, actor: str) -> Product:
        """Raises ImageNotFound."""
        image: Product = row_of(Product.objects.filter(pk=key, kind="image"), ImageNotFound(key))
        given: dict[str, Any] = {"vote": params.vote, "comment": escaped(params.reason)}
        ImageVote.objects.update_or_create(image=image, voter=actor, defaults=given)
        about = f"image {key}, {image.observation or image.path}: {params.vote}"
        announce(self.change(params, actor, about=about, product_id=key, path=image.path, vote=params.vote))
        return image


refuse_calibration = RefuseCalibration()
accept_calibration = AcceptCalibration()
vote_on_image = VoteOnImage()


def register() -> None:
    """Add them to the catalogue."""
    catalogue.register(refuse_calibration, accept_calibration, vote_on_image)
