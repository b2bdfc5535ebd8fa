from __future__ import annotations

import re

import pytest

from pipeline_app.api import urls, views
from tests.tasks_app.api.test_docs import TEXT, routes_told


@pytest.mark.parametrize("route", sorted(urls.VIEWS))
def test_every_route_of_the_pipeline_is_in_the_table(route):
    path = re.sub(r"<\w+:(\w+)>", r"{\1}", route)
    assert f"pipeline/{path}" in routes_told(TEXT)


@pytest.mark.parametrize(
    "shape",
    [views.ObservationFilter, views.ProductFilter, views.CalibrationFilter, views.MeasurementFilter],
    ids=lambda shape: shape.__name__,
)
def test_every_condition_is_told(shape):
    words = set(re.findall(r"\w+", TEXT))
    for name in shape.base_filters:
        assert name in words or f"_{name.rpartition('_')[2]}" in words, name
