"""Charts: their library is the published one, and they draw under the policy."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

from tasks_app.admin import charts

ECHARTS_6_1_0 = "28515f26aa57f87eb1e4ed4eb446927eaf329b5f5e02b4bfd4b0264fea40d1da"
"""SHA-256 of dist/echarts.esm.min.js in the npm package echarts 6.1.0."""


def test_the_library_is_the_published_one():
    found = finders.find("echarts/echarts.esm.min.js")
    assert hashlib.sha256(Path(found).read_bytes()).hexdigest() == ECHARTS_6_1_0


def test_a_chart_has_no_more_points_than_a_page_carries():
    axis = charts.Axis(label="x")
    points = [[n, n] for n in range(charts.POINTS_MOST + 1)]
    chart = charts.XYChart(name="many", title="", x=axis, y=axis, series=[charts.Series(name="a", points=points)])
    with pytest.raises(ValueError, match=r"5000 points at most \(many has 5001\)"):
        charts.as_json(chart)
