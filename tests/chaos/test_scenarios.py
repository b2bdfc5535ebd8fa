"""Every scenario of `absurd_gameday`: on the test's database, and on servers of its own where servers are stopped."""

from __future__ import annotations

import pytest

from workers.gameday import private, runner
from workers.gameday.catalogue import catalogue
from workers.gameday.report import Report
from workers.gameday.scenario_run import Terms

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

# The long ones first, so that no process is left with one of them at the end.
EVERY = sorted(catalogue().values(), key=lambda scenario: not scenario.endurance)
ON_ANY_SERVERS = [scenario.name for scenario in EVERY if not scenario.servers]
ON_ITS_OWN = [scenario.name for scenario in EVERY if scenario.servers]


def judge(report: Report) -> None:
    print(report.as_dict())
    assert not report.skipped, report.skipped
    assert report.passed, report.explained()
    assert report.accepted > 0 and sum(report.ended.values()) == report.accepted
    assert (report.ended_twice, report.refused_products) == (0, 0)


@pytest.mark.parametrize("name", ON_ANY_SERVERS)
def test_every_task_ends_once_and_all_is_well_again_in_time(name: str, terms: Terms, transactional_db: None) -> None:
    judge(runner.play(catalogue()[name], terms))


@pytest.mark.parametrize("name", ON_ITS_OWN)
def test_every_task_ends_once_whatever_becomes_of_the_servers(name: str, terms: Terms) -> None:
    judge(private.play(catalogue()[name], terms))
