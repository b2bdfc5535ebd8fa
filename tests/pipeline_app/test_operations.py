"""Refusing a calibration, accepting it again, and voting on an image."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from pipeline_app.models import Calibration, ImageVote, Product
from pipeline_app.operations import (
    CalibrationNotFound,
    ImageNotFound,
    RefuseCalibration,
    accept_calibration,
    refuse_calibration,
    vote_on_image,
)
from tasks_app.errors import OperationRefused
from tasks_app.models import TaskEvent
from tasks_app.operations import catalogue
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.management.commands import output_of, refused

pytestmark = pytest.mark.django_db
BY = {"actor": "user:ann", "reason": "snow on the dishes"}


def make_calibration(verdict: str = "warn", mid_mjd: float = 61314.0) -> Calibration:
    origin = {"task_id": uuid4(), "path": f"/data/{mid_mjd}.cal", "verdict": verdict}
    Product.objects.create(**origin, attempt=1, task_name="calibration-solve", kind="calibration")
    return Calibration.objects.create(**origin, mid_mjd=mid_mjd, declination_deg=16.1, reasons=["few antennas"])


def make_image() -> Product:
    return Product.objects.create(
        task_id=uuid4(), attempt=1, task_name="imaging", kind="image", path="/data/a.fits", metrics={"rms_jy": 2e-3}
    )


def test_a_refusal_is_taken_back_as_it_was_and_both_are_recorded():
    made = make_calibration()
    for _ in range(2):
        refused_now = refuse_calibration(made.pk, **BY)
        assert (refused_now.verdict, len(refused_now.reasons)) == ("fail", 2)
        accepted = accept_calibration(made.pk, actor="user:bob", reason="it was the wrong night")
        assert (accepted.verdict, accepted.reasons) == ("warn", ["few antennas"])
    events = TaskEvent.objects.order_by("id").values_list("event_type", "actor", "reason", "detail__from", "detail__to")
    wanted = [
        ("calibration_refused", "user:ann", "snow on the dishes", "warn", "fail"),
        ("calibration_accepted", "user:bob", "it was the wrong night", "fail", "warn"),
    ]
    assert list(events) == wanted * 2


@pytest.mark.parametrize("verdict", ["pass", "warn", "fail"])
def test_only_a_refusal_by_hand_is_taken_back(verdict):
    made = make_calibration(verdict)
    with pytest.raises(OperationRefused, match=f"not refused by hand; it was solved with the verdict {verdict}"):
        accept_calibration(made.pk, **BY)
    made.refresh_from_db()
    assert made.verdict == verdict
    assert not TaskEvent.objects.exists()


def test_without_its_product_a_calibration_cannot_be_accepted_again():
    made = make_calibration()
    refuse_calibration(made.pk, **BY)
    Product.objects.all().delete()
    with pytest.raises(OperationRefused, match="is gone"):
        accept_calibration(made.pk, **BY)


def test_one_vote_a_person_the_last_one_stands():
    image = make_image()
    vote_on_image(image.pk, actor="user:ann", vote="good", reason="deep")
    vote_on_image(image.pk, actor="user:bob", vote="bad", reason="stripes")
    vote_on_image(image.pk, actor="user:ann", vote="bad", reason="stripes indeed")
    votes = dict(ImageVote.objects.values_list("voter", "vote"))
    assert votes == {"user:ann": "bad", "user:bob": "bad"}
    assert TaskEvent.objects.filter(event_type="image_voted", detail__product_id=image.pk).count() == 3
    shown = Caller(make_key("read"))("GET", f"pipeline/products/{image.pk}").body["votes"]
    assert [(each["voter"], each["comment"]) for each in shown] == [
        ("user:ann", "stripes indeed"),
        ("user:bob", "stripes"),
    ]


@pytest.mark.parametrize("vote", ["great", "", None])
def test_another_vote_than_good_or_bad_is_refused_by_name(vote):
    answer = Caller(make_key("operate"))(
        "POST", f"pipeline/products/{make_image().pk}/vote", {"vote": vote, "reason": "because"}
    )
    assert (answer.status_code, [each["path"] for each in answer.body["errors"]]) == (422, ["vote"])


def test_what_is_not_there_is_named():
    other = make_image()
    Product.objects.filter(pk=other.pk).update(kind="residual-image")
    for operation, error in ((refuse_calibration, CalibrationNotFound), (accept_calibration, CalibrationNotFound)):
        with pytest.raises(error, match="there is no calibration 77"):
            operation(77, **BY)
    with pytest.raises(ImageNotFound, match=f"there is no image {other.pk}"):
        vote_on_image(other.pk, **BY, vote="good")
    caller = Caller(make_key("operate"))
    for path, code in (
        ("calibrations/77/refuse", "calibration_not_found"),
        (f"products/{other.pk}/vote", "image_not_found"),
        (f"products/{10**30}/vote", "image_not_found"),
    ):
        body = {"reason": "because"} | ({"vote": "good"} if path.endswith("vote") else {})
        answer = caller("POST", f"pipeline/{path}", body)
        assert (answer.status_code, answer.body["code"]) == (404, code)
    for words in (("absurd_calibrations", "refuse", "77"), ("absurd_images", "vote", "x", "--vote", "good")):
        assert refused(*words, "--reason", "because")[0] == 3


def test_the_shell_lists_calibrations_and_images():
    assert "no calibration has been solved" in output_of("absurd_calibrations", "list")
    assert "no image has been made" in output_of("absurd_images", "list")
    older, newer = make_calibration(mid_mjd=61314.0), make_calibration("pass", mid_mjd=61315.0)
    image = make_image()
    vote_on_image(image.pk, **BY, vote="bad")
    found = json.loads(output_of("absurd_calibrations", "list", "--json"))["calibrations"]
    assert [each["id"] for each in found] == [newer.pk, older.pk]
    (shown,) = json.loads(output_of("absurd_images", "list", "--json"))["images"]
    assert (shown["id"], shown["good"], shown["bad"]) == (image.pk, 0, 1)
    lines = output_of("absurd_images", "list").splitlines()
    assert "2.000 mJy/beam" in lines[-1]


def test_an_operation_is_registered_once_and_only_with_a_route():
    catalogue.register(*catalogue.operations_on("calibration"))  # an application that starts twice
    with pytest.raises(ValueError, match="its name is taken"):
        catalogue.register(RefuseCalibration())
    with pytest.raises(ValueError, match="its kind is not in routes"):
        catalogue.register(RefuseCalibration(target_kind="antenna"))
