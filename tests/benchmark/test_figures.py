from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from absurd_project.benchmark.measures import Figures, percentile, verdicts
from absurd_project.benchmark.sql_cost import brief
from absurd_project.benchmark.workers import slope
from tests.benchmark.peers.rounds import _slope


@pytest.mark.parametrize(("percent", "expected"), [(50, 3), (95, 5), (99, 5), (1, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent, expected):
    assert percentile([5, 3, 1, 2, 4], percent) == expected


def test_a_rate_is_the_median_of_its_rounds_and_ratios_are_of_medians():
    figures = Figures()
    for ours, raw in ((10, 20), (30, 25), (20, 100)):
        figures.add_rate("ours", ours)
        figures.add_rate("raw", raw)
    assert figures.rate("ours") == 20
    assert figures.ratio("ours", "raw") == 0.8
    assert figures.ratio("ours", "absent") is None


def test_the_less_favourable_ratio_counts():
    figures = Figures()
    for name, value in {"a1": 10, "b1": 5, "a4": 10, "b4": 20}.items():
        figures.add_rate(name, value)
    assert figures.lower_ratio([("a1", "b1"), ("a4", "b4"), ("a9", "b9")]) == 0.5
    assert figures.lower_ratio([("a9", "b9")]) is None


def test_the_report_names_what_was_measured_and_nothing_else():
    figures = Figures()
    assert figures.report() == {"rates": {}, "ratios": {}, "latency_ms": {}}
    figures.add_distribution("pickup", [1.0, 2.0, 3.0])
    figures.add_distribution("claim, large tables", [1.0])
    figures.add_distribution("stats", [4.0])
    assert figures.report()["latency_ms"] == {"pickup_p50": 2.0, "pickup_p99": 3.0, "stats": 4.0}


def test_targets_are_judged_where_there_is_a_figure():
    figures = Figures()
    figures.ratios.update(spawn_many_vs_raw=0.49, claim_full_vs_small=1.5)
    figures.add_distribution("pickup", [9.9, 60.0])
    figures.others["worker_pss_mb_ours"] = 121
    assert {verdict.name: verdict.met for verdict in verdicts(figures)} == {
        "spawn_many_vs_raw": False,
        "claim_full_vs_small": True,
        "pickup_p50": True,
        "pickup_p99": False,
        "worker_pss_mb_ours": False,
    }


def test_workers_are_rated_between_their_start_and_their_last_tasks():
    began = datetime(2026, 1, 1, tzinfo=UTC)
    slow_start = [began + timedelta(seconds=each) for each in range(30)]
    steady = [began + timedelta(seconds=30 + each / 10) for each in range(70)]
    assert slope([*slow_start, *steady], whole=True) == pytest.approx(10, rel=0.01)
    assert slope([], whole=False) == 0


def test_a_peer_is_rated_between_its_start_and_its_last_tasks():
    seen = [(0.0, 0), (5.0, 30), (6.0, 63), (7.0, 96), (20.0, 100)]
    assert _slope(seen, 100) == pytest.approx(33)
    assert _slope([(0.0, 0)], 100) == 0


def test_a_statement_is_told_in_one_short_line():
    assert brief("SELECT  1\n  FROM x WHERE y IN (%s, %s, %s)") == "SELECT 1 FROM x WHERE y IN (…)"
    assert len(brief("SELECT " + "x" * 500)) == 90
    assert (
        brief("WITH entered AS (SELECT lock(f(1))), picked AS (SELECT 2) SELECT 3")
        == "WITH …, picked AS (SELECT 2) SELECT 3"
    )
