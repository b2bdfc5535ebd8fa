"""Tasks spawned by the clock: each moment once, whoever looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from tasks_app import clock, schedules
from tasks_app.actions import schedules as actions
from tasks_app.errors import ParamsInvalid, ScheduleNotFound, UnknownTaskName
from tasks_app.models import Schedule, Task, TaskEvent
from tests.tasks_app.test_races import together

BY = {"actor": "user:alice", "reason": "nightly"}
NIGHTLY = {"cron": "0 3 * * *", "task_name": "note", "params": {"text": "a"}}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def set_clock(moment: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('absurd.now', %s, true)", [moment.isoformat()])


@pytest.mark.django_db
def test_it_spawns_at_its_moment_and_not_before():
    set_clock(at("2026-03-01 02:59:00"))
    schedule = actions.save("nightly", NIGHTLY, **BY)
    assert schedule.next_run_at == at("2026-03-01 03:00")
    assert actions.fire_due() == 0
    set_clock(at("2026-03-01 03:00:01"))
    assert (actions.fire_due(), actions.fire_due()) == (1, 0)
    task = Task.objects.get()
    assert (task.created_by, task.params) == ("schedule:nightly", {"text": "a"})
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.last_task_id) == (at("2026-03-02 03:00"), task.task_id)


@pytest.mark.django_db
@pytest.mark.parametrize(("catch_up", "spawned"), [("skip", 0), ("one", 1), ("all", 5)], ids=["skip", "one", "all"])
def test_what_was_missed_is_caught_up_as_the_policy_says(catch_up, spawned):
    set_clock(at("2026-03-01 00:00:00"))
    actions.save("nightly", NIGHTLY | {"catch_up": catch_up}, **BY)
    set_clock(at("2026-03-05 12:00:00"))
    assert actions.fire_due() == Task.objects.count() == spawned
    assert Schedule.objects.get().next_run_at == at("2026-03-06 03:00")
    set_clock(at("2026-03-06 03:00:10"))
    assert actions.fire_due() == 1


@pytest.mark.django_db
def test_catching_up_all_goes_on_in_the_next_round_where_it_left_off(monkeypatch):
    monkeypatch.setattr(actions, "CATCH_UP_MOST", 3)
    set_clock(at("2026-03-01 00:00:00"))
    actions.save("nightly", NIGHTLY | {"catch_up": "all"}, **BY)
    set_clock(at("2026-03-05 12:00:00"))
    assert [actions.fire_due() for _ in range(3)] == [3, 2, 0]


@pytest.mark.django_db
def test_local_times_follow_daylight_saving_both_ways():
    ovro = Schedule(cron="30 2 * * *", time_zone="America/Los_Angeles", task_name="note")
    assert schedules.upcoming(ovro, at("2026-03-07 00:00"), 3) == [
        at("2026-03-07 10:30"),
        at("2026-03-08 10:00"),  # 02:30 does not exist that night: it runs as the clock jumps to 03:00
        at("2026-03-09 09:30"),
    ]
    ovro.cron = "30 1 * * *"
    assert schedules.upcoming(ovro, at("2026-10-31 00:00"), 3) == [
        at("2026-10-31 08:30"),
        at("2026-11-01 08:30"),  # 01:30 comes twice that night and counts once
        at("2026-11-02 09:30"),
    ]


@pytest.mark.django_db
def test_jitter_delays_the_task_not_the_schedule():
    set_clock(at("2026-03-01 02:59:00"))
    actions.save("nightly", NIGHTLY | {"jitter_sec": 600}, **BY)
    set_clock(at("2026-03-01 03:00:00"))
    actions.fire_due()
    later = Task.objects.get().runnable_at - clock.now()
    assert timedelta(0) < later <= timedelta(seconds=600)


@pytest.mark.django_db
def test_a_refused_spawn_is_told_once_and_hinders_no_other(settings):
    set_clock(at("2026-03-01 02:59:00"))
    actions.save("broken", NIGHTLY, **BY)
    actions.save("sound", NIGHTLY, **BY)
    Schedule.objects.filter(name="broken").update(task_name="gone")
    set_clock(at("2026-03-01 03:00:00"))
    assert (actions.fire_due(), actions.fire_due()) == (1, 0)
    broken = Schedule.objects.get(name="broken")
    assert "no task is called 'gone'" in broken.last_error
    assert broken.next_run_at == at("2026-03-02 03:00")
    assert TaskEvent.objects.filter(verb="schedule_refused").count() == 1


@pytest.mark.django_db
def test_it_runs_on_demand_is_disabled_and_enabled_without_catching_up():
    set_clock(at("2026-03-01 00:00:00"))
    actions.save("nightly", NIGHTLY | {"catch_up": "all"}, **BY)
    task = actions.run_now("nightly", **BY)
    assert (task.created_by, Schedule.objects.get().next_run_at) == ("user:alice", at("2026-03-01 03:00"))
    actions.set_enabled("nightly", False, **BY)
    set_clock(at("2026-03-04 12:00:00"))
    assert actions.fire_due() == 0
    actions.set_enabled("nightly", True, **BY)
    assert (actions.fire_due(), Schedule.objects.get().next_run_at) == (0, at("2026-03-05 03:00"))
    actions.delete("nightly", **BY)
    told = list(TaskEvent.objects.filter(task_id=None).order_by("id").values_list("verb", flat=True))
    assert told == ["schedule_made", "schedule_run", "schedule_disabled", "schedule_enabled", "schedule_deleted"]
    with pytest.raises(ScheduleNotFound):
        actions.run_now("nightly", **BY)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [{"cron": "61 * * * *"}, {"cron": "soon"}, {"time_zone": "Mars/Olympus"}, {"priority": 21}, {"catch_up": "some"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_could_never_run_is_refused_when_it_is_written(wrong):
    with pytest.raises(ParamsInvalid, match=next(iter(wrong))):
        actions.save("nightly", NIGHTLY | wrong, **BY)
    with pytest.raises(UnknownTaskName):
        actions.save("nightly", NIGHTLY | {"task_name": "notes"}, **BY)
    with pytest.raises(ParamsInvalid, match=r"params\.text"):
        actions.save("nightly", NIGHTLY | {"params": {}}, **BY)


@pytest.mark.django_db(transaction=True)
def test_four_schedulers_at_once_fire_each_moment_once():
    actions.save("every minute", NIGHTLY | {"cron": "* * * * *", "catch_up": "all"}, **BY)
    for round_number in range(1, 11):
        Schedule.objects.update(next_run_at=clock.now().replace(second=0, microsecond=0) - timedelta(minutes=4))
        expected = 5
        fired = together(*[actions.fire_due] * 4)
        assert sorted(fired) == [0, 0, 0, expected]
        assert Task.objects.count() == round_number * expected
