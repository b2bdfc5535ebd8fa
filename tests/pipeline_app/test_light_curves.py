from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest

from pipeline_app.light_curves import Flux, epoch_factors, epochs, last_epochs, variability
from pipeline_app.models import Measurement
from tests.pipeline_app.console_rows import make_nights


def test_a_steady_source_has_an_eta_of_one():
    rng = np.random.default_rng(3)
    points = [Flux(value_jy=1.0 + 0.01 * float(n), error_jy=0.01) for n in rng.standard_normal(2000)]
    found = variability(points)
    assert found.eta == pytest.approx(1.0, abs=0.1)
    assert found.v == pytest.approx(0.01, rel=0.05)
    assert not found.is_candidate


def test_eta_weighs_by_the_errors():
    points = [Flux(value_jy=1.0, error_jy=0.01), Flux(value_jy=1.2, error_jy=1.0)]
    assert variability(points).eta == pytest.approx(0.04, rel=0.01)


def test_one_epoch_says_nothing_of_variability():
    found = variability([Flux(value_jy=0.5, error_jy=0.01)])
    assert (found.n_epochs, found.mean_jy, found.eta, found.v, found.is_candidate) == (1, 0.5, None, None, False)


def test_the_common_factor_is_that_of_the_other_sources():
    rows = [(1, "a", 1.0), (2, "a", 1.2), (1, "b", 2.0), (2, "b", 2.4), (1, "wild", 1.0), (2, "wild", 9.0)]
    factors = epoch_factors(rows, without="wild")
    assert factors[2] / factors[1] == pytest.approx(1.2)
    assert epoch_factors([(1, "a", 1.0)], without="b") == {}


@pytest.mark.django_db
def test_the_last_epochs_are_those_that_count_in_order_of_time(tmp_path):
    """One flux a night is measured again, once with the verdict fail, and once at another frequency."""
    nights = make_nights(tmp_path)
    for verdict, freq_hz in (("fail", 1.405e9), ("pass", 1.5e9)):
        again = Measurement.objects.get(name="S01", observation=nights[1].observation, freq_hz=1.405e9, verdict="warn")
        again.pk, again.task_id, again.verdict, again.freq_hz = None, uuid4(), verdict, freq_hz
        again.save()
    found = last_epochs(["S01", "S02", "no such source"], 10)
    assert set(found) == {"S01", "S02"}
    for name, rows in found.items():
        expected = epochs(Measurement.objects.filter(name=name)).order_by("mid_mjd", "id")
        assert [row.pk for row in rows] == list(expected.values_list("pk", flat=True))
    assert [row.verdict for row in found["S01"]] == ["pass", "fail", "pass"]
    assert [row.observation_id for row in last_epochs(["S02"], 1)["S02"]] == [nights[1].observation.pk]
