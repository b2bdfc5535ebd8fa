"""What health says of verdicts: a line an observation, whatever was made from it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from pipeline_app.faults import verdicts
from pipeline_app.models import Product
from tests.pipeline_app.test_workflows import make_tile

pytestmark = pytest.mark.django_db


def test_bad_verdicts_on_products_of_one_observation_are_one_fault_the_worst_observation_first():
    fine, warned, failed = (
        make_tile(f"2026-10-01T06:0{minute}:00", mid_mjd=61314.25 + minute / 1440) for minute in (0, 1, 2)
    )
    made = [(fine, "image", "pass"), (warned, "image", "warn"), (warned, "photometry", "warn")]
    made += [(failed, "image", "warn"), (failed, "photometry", "fail")]
    for number, (tile, kind, verdict) in enumerate(made):
        Product.objects.create(
            kind=kind, path=f"/data/{number}", task_id=uuid4(), attempt=1, verdict=verdict, observation=tile.observation
        )
    found = verdicts("dsa110-pipeline")
    assert [str(subject) for subject in found.subjects] == [
        "observation 2026-10-01T06:02:00 has the verdict fail (photometry)",
        "observation 2026-10-01T06:01:00 has the verdict warn (image, photometry)",
    ]
    assert [subject.key for subject in found.subjects] == [str(failed.observation.pk), str(warned.observation.pk)]
