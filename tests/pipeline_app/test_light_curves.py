from __future__ import annotations

import numpy as np
import pytest

from pipeline_app.light_curves import Flux, epoch_factors, variability


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
