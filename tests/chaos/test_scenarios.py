"""Every scenario of `absurd_gameday`: on the test's database, and on servers of its own where servers are stopped."""

from __future__ import annotations

import pytest

from workers.gameday import playing
from workers.gameday.catalogue import catalogue
from workers.gameday.game import Terms

pytestmark = pytest.mark.chaos

ON_ANY = [name for name, scenario in catalogue().items() if not scenario.servers]


@pytest.mark.parametrize("name", ON_ANY)
def test_every_task_ends_once_and_all_is_well_again_in_time(name: str, terms: Terms, transactional_db: None) -> None:
    report = playing.play(catalogue()[name], terms)
    print(report.as_dict())
    assert not report.skipped, report.skipped
    assert report.passed, report.explained()
