"""Tasks spawned by the clock: each moment once, whichever process sweeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from tasks_app.engine import cron
from tasks_app.errors import ParamsInvalid, ScheduleNotFound, UnknownTaskName
from tasks_app.maintenance import schedules as due
from tasks_app.maintenance.schedules import fire_due
from tasks_app.models import IdempotencyKey, Schedule, Task, TaskEvent
from tasks_app.operations import schedules as actions
from tasks_app.postgresql import clock
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
    schedule = actions.save("nightly", **NIGHTLY, **BY)
    assert schedule.next_run_at == at("2026-03-01 03:00")
    assert fire_due() == 0
    set_clock(at("2026-03-01 03:00:01"))
    assert (fire_due(), fire_due()) == (1, 0)
    task = Task.objects.get()
    assert (task.created_by, task.params) == ("schedule:nightly", {"text": "a"})
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.last_task_id) == (at("2026-03-02 03:00"), task.task_id)


@pytest.mark.django_db
@pytest.mark.parametrize(("catch_up", "spawned"), [("skip", 0), ("one", 1), ("all", 5)], ids=["skip", "one", "all"])
def test_what_was_missed_is_caught_up_as_the_policy_says(catch_up, spawned):
    set_clock(at("2026-03-01 00:00:00"))
    actions.save("nightly", **(NIGHTLY | {"catch_up": catch_up}), **BY)
    set_clock(at("2026-03-05 12:00:00"))
    assert fire_due() == Task.objects.count() == spawned
    assert Schedule.objects.get().next_run_at == at("2026-03-06 03:00")
    set_clock(at("2026-03-06 03:00:10"))
    assert fire_due() == 1


@pytest.mark.django_db
def test_catching_up_all_goes_on_in_the_next_round_where_it_left_off(monkeypatch):
    monkeypatch.setattr(due, "CATCH_UP_MOST", 3)
    set_clock(at("2026-03-01 00:00:00"))
    actions.save("nightly", **(NIGHTLY | {"catch_up": "all"}), **BY)
    set_clock(at("2026-03-05 12:00:00"))
    assert [fire_due() for _ in range(3)] == [3, 2, 0]


@pytest.mark.django_db
def test_local_times_follow_daylight_saving_both_ways():
    ovro = Schedule(cron="30 2 * * *", time_zone="America/Los_Angeles", task_name="note")
    assert cron.upcoming(ovro, at("2026-03-07 00:00"), 3) == [
        at("2026-03-07 10:30"),
        at("2026-03-08 10:00"),  # 02:30 does not exist that night: it runs as the clock jumps to 03:00
        at("2026-03-09 09:30"),
    ]
    ovro.cron = "30 1 * * *"
    assert cron.upcoming(ovro, at("2026-10-31 00:00"), 3) == [
        at("2026-10-31 08:30"),
        at("2026-11-01 08:30"),  # 01:30 comes twice that night and counts once
        at("2026-11-02 09:30"),
    ]


@pytest.mark.django_db
def test_in_the_hour_that_comes_twice_a_moment_of_its_first_time_is_over():
    set_clock(at("2026-11-01 08:00:00"))
    actions.save("ovro", **(NIGHTLY | {"cron": "30 1 * * *", "time_zone": "America/Los_Angeles"}), **BY)
    set_clock(at("2026-11-01 09:10:00"))
    assert [fire_due() for _ in range(3)] == [1, 0, 0]
    assert Schedule.objects.get().next_run_at == at("2026-11-02 09:30")


@pytest.mark.django_db
def test_what_runs_every_hour_runs_in_both_hours_that_have_the_same_name():
    hourly = Schedule(cron="0 * * * *", time_zone="America/Los_Angeles", task_name="note")
    moments = cron.upcoming(hourly, at("2026-11-01 07:30"), 3)
    assert moments == [at("2026-11-01 08:00"), at("2026-11-01 09:00"), at("2026-11-01 10:00")]


@pytest.mark.django_db
def test_a_moment_has_a_key_so_that_a_clock_set_back_spawns_nothing_twice():
    set_clock(at("2026-03-01 02:59:00"))
    schedule = actions.save("nightly", **(NIGHTLY | {"jitter_sec": 600}), **BY)
    set_clock(at("2026-03-01 03:00:01"))
    fire_due()
    key = IdempotencyKey.objects.get()
    assert (key.key, key.task_id) == (f"schedule:{schedule.pk}:2026-03-01T03:00:00Z", Task.objects.get().task_id)
    Schedule.objects.update(next_run_at=at("2026-03-01 03:00"))
    fire_due()
    assert (Task.objects.count(), Schedule.objects.get().last_error) == (1, "")


@pytest.mark.django_db
def test_a_process_in_which_absurd_is_disabled_leaves_schedules_to_others(settings):
    set_clock(at("2026-03-01 02:59:00"))
    actions.save("nightly", **NIGHTLY, **BY)
    settings.ABSURD_ENABLED = False
    set_clock(at("2026-03-01 03:00:30"))
    assert (fire_due(), Schedule.objects.get().last_error) == (0, "")
    set_clock(at("2026-03-01 03:02:00"))
    assert fire_due() == 0
    stored = Schedule.objects.get()
    assert "disabled" in stored.last_error and stored.next_run_at == at("2026-03-01 03:00")
    settings.ABSURD_ENABLED = True
    assert (fire_due(), Schedule.objects.get().last_error) == (1, "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("broken", "output"),
    [({"cron": "nonsense"}, "CronSimError"), ({"time_zone": "Mars/Olympus"}, "ZoneInfoNotFoundError")],
    ids=["cron", "zone"],
)
def test_a_schedule_that_means_nothing_any_more_rests_and_hinders_no_other(broken, output):
    set_clock(at("2026-03-01 02:59:00"))
    actions.save("broken", **NIGHTLY, **BY)
    actions.save("sound", **NIGHTLY, **BY)
    Schedule.objects.filter(name="broken").update(**broken)
    set_clock(at("2026-03-01 03:00:00"))
    assert (fire_due(), fire_due()) == (1, 0)
    stored = Schedule.objects.get(name="broken")
    assert stored.next_run_at is None and stored.last_error.startswith(output)


@pytest.mark.django_db
def test_jitter_delays_the_task_not_the_schedule():
    set_clock(at("2026-03-01 02:59:00"))
    actions.save("nightly", **(NIGHTLY | {"jitter_sec": 600}), **BY)
    set_clock(at("2026-03-01 03:00:00"))
    fire_due()
    later = Task.objects.get().runnable_at - clock.now()
    assert timedelta(0) < later <= timedelta(seconds=600)


@pytest.mark.django_db
def test_a_refused_spawn_is_told_once_and_hinders_no_other(settings):
    set_clock(at("2026-03-01 02:59:00"))
    actions.save("broken", **NIGHTLY, **BY)
    actions.save("sound", **NIGHTLY, **BY)
    Schedule.objects.filter(name="broken").update(task_name="gone")
    set_clock(at("2026-03-01 03:00:00"))
    assert (fire_due(), fire_due()) == (1, 0)
    broken = Schedule.objects.get(name="broken")
    assert "unknown task name 'gone'" in broken.last_error
    assert broken.next_run_at == at("2026-03-02 03:00")
    assert TaskEvent.objects.filter(event_type="schedule_refused").count() == 1


@pytest.mark.django_db
def test_it_runs_on_demand_is_disabled_and_enabled_without_catching_up():
    set_clock(at("2026-03-01 00:00:00"))
    actions.save("nightly", **(NIGHTLY | {"catch_up": "all"}), **BY)
    task = actions.run_now("nightly", **BY)
    assert (task.created_by, Schedule.objects.get().next_run_at) == ("user:alice", at("2026-03-01 03:00"))
    actions.disable("nightly", **BY)
    set_clock(at("2026-03-04 12:00:00"))
    assert fire_due() == 0
    actions.enable("nightly", **BY)
    assert (fire_due(), Schedule.objects.get().next_run_at) == (0, at("2026-03-05 03:00"))
    actions.delete("nightly", **BY)
    output = list(TaskEvent.objects.filter(task_id=None).order_by("id").values_list("event_type", flat=True))
    assert output == ["schedule_made", "schedule_run", "schedule_disabled", "schedule_enabled", "schedule_deleted"]
    with pytest.raises(ScheduleNotFound):
        actions.run_now("nightly", **BY)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"cron": "61 * * * *"},
        {"cron": "soon"},
        {"cron": "* * * * * *"},
        {"cron": "0 0 30 2 *"},
        {"time_zone": "Mars/Olympus"},
        {"priority": 21},
        {"catch_up": "some"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_could_never_run_is_refused_when_it_is_written(wrong):
    with pytest.raises(ParamsInvalid, match=next(iter(wrong))):
        actions.save("nightly", **(NIGHTLY | wrong), **BY)
    with pytest.raises(UnknownTaskName):
        actions.save("nightly", **(NIGHTLY | {"task_name": "notes"}), **BY)
    with pytest.raises(ParamsInvalid, match=r"params\.text"):
        actions.save("nightly", **(NIGHTLY | {"params": {}}), **BY)


@pytest.mark.django_db(transaction=True)
def test_four_schedulers_at_once_fire_each_moment_once():
    for round_number in range(1, 11):
        name = f"every minute {round_number}"
        actions.save(name, **(NIGHTLY | {"cron": "* * * * *", "catch_up": "all"}), **BY)
        earliest = clock.now().replace(second=0, microsecond=0) - timedelta(minutes=4)
        Schedule.objects.filter(name=name).update(next_run_at=earliest)
        Schedule.objects.exclude(name=name).delete()
        fired = together(*[fire_due] * 4)
        # A minute may begin while they work.
        assert sorted(fired)[:3] in ([0, 0, 0], [0, 0, 1]) and sum(fired) in (5, 6)
        assert Task.objects.filter(created_by=f"schedule:{name}").count() == sum(fired)


@pytest.mark.django_db(transaction=True)
def test_four_schedulers_share_a_backlog_without_spawning_a_moment_twice(monkeypatch):
    monkeypatch.setattr(due, "CATCH_UP_MOST", 10)
    actions.save("backlog", **(NIGHTLY | {"cron": "0 * * * *", "catch_up": "all"}), **BY)
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    Schedule.objects.update(next_run_at=hour - timedelta(hours=199))

    def drain() -> int:
        done = 0
        while Schedule.objects.filter(next_run_at__lte=clock.DatabaseNow()).exists():
            done += fire_due()
        return done

    done = sum(together(*[drain] * 4))
    assert done in (200, 201)
    assert TaskEvent.objects.filter(event_type="spawned").count() == Task.objects.count() == done
