from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.engine import backoff

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2120, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))


@given(first=MOMENTS, second=MOMENTS, critical=st.integers(15, 20), other=st.integers(1, 14))
def test_critical_tasks_run_before_all_others(first, second, critical, other):
    assert backoff.rank(critical, first) < backoff.rank(other, second)


@given(first=MOMENTS, second=MOMENTS, priority=st.integers(15, 19))
def test_a_higher_critical_priority_runs_first_whatever_the_time(first, second, priority):
    assert backoff.rank(priority + 1, first) < backoff.rank(priority, second)


@given(moment=MOMENTS, priority=st.integers(1, 13))
def test_a_minute_of_waiting_is_worth_one_step_of_priority(moment, priority):
    assert backoff.rank(priority, moment) == backoff.rank(priority + 1, moment + timedelta(minutes=1))


def test_backoff_grows_to_its_cap_and_never_spins():
    ceilings = [backoff.backoff_sec(n, base_sec=5, cap_sec=600, chance=1.0) for n in range(1, 10)]
    assert ceilings == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert backoff.backoff_sec(1, chance=0.0) == 0.5


@pytest.mark.parametrize(
    "failure_class", ["error", "timeout", "killed", "lost", "idle_timeout", "memory", "invalid", "drained"]
)
def test_a_requested_cancel_ends_as_cancelled_whatever_the_attempt_did(failure_class):
    verdict = backoff.judge(failure_class, retry_count=0, max_retries=3, crash_count=2, cancel_requested=True)
    assert (verdict.to, verdict.counts_as_retry) == ("cancelled", False)


def test_nothing_to_do_completes():
    assert (
        backoff.judge("no_work", retry_count=0, max_retries=0, crash_count=0, cancel_requested=False).to == "completed"
    )
