"""Every scenario of `absurd_gameday`: on the test's database, and on servers of its own where servers are stopped."""

from __future__ import annotations

import pytest

from workers.gameday import own_servers, runner
from workers.gameday.drill import Options
from workers.gameday.report import Report
from workers.gameday.scenarios import SCENARIOS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

# The long ones first, so that no process is left with one of them at the end.
EVERY = sorted(SCENARIOS.values(), key=lambda scenario: not scenario.endurance)
ON_ANY_SERVERS = [scenario.name for scenario in EVERY if not scenario.servers]
ON_ITS_OWN = [scenario.name for scenario in EVERY if scenario.servers]


def judge(report: Report) -> None:
    print(report.as_dict())
    assert not report.skipped, report.skipped
    assert report.passed, report.explained()
    assert report.accepted > 0 and sum(report.ended.values()) == report.accepted
    assert (report.ended_twice, report.refused_products) == (0, 0)


@pytest.mark.parametrize("name", ON_ANY_SERVERS)
def test_every_task_ends_once_and_recovery_is_in_time(name: str, options: Options, transactional_db: None) -> None:
    judge(runner.run(SCENARIOS[name], options))


@pytest.mark.parametrize("name", ON_ITS_OWN)
def test_every_task_ends_once_whatever_becomes_of_the_servers(name: str, options: Options) -> None:
    judge(own_servers.run(SCENARIOS[name], options))
