from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from tasks_app.models import TaskEvent
from tasks_app.postgresql import clock
from tasks_app.testing import drain, frozen_clock
from tests.tasks_app.notes import spawn_note

NEW_YEAR = datetime(2031, 1, 1, tzinfo=UTC)


def session_setting() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('absurd.now', true), '')")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_the_clock_stands_moves_and_goes_on_outside_a_transaction():
    with frozen_clock(NEW_YEAR) as frozen:
        assert clock.now() == clock.now() == NEW_YEAR
        assert frozen.tick(90) == clock.now() == NEW_YEAR + timedelta(seconds=90)
        assert frozen.move_to(NEW_YEAR - timedelta(days=1)) == clock.now()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert session_setting() == ""


@pytest.mark.django_db
def test_the_clock_stands_and_goes_on_inside_a_transaction():
    with transaction.atomic(), frozen_clock(NEW_YEAR) as frozen:
        frozen.tick(1)
        assert spawn_note().created_at == frozen.now
    assert session_setting() == ""


@pytest.mark.django_db
def test_without_a_moment_it_stops_where_it_is():
    with frozen_clock() as frozen:
        first = clock.now()
        assert clock.now() == first == frozen.now


@pytest.mark.django_db
def test_the_inner_of_two_gives_way_to_the_outer():
    with frozen_clock(NEW_YEAR):
        with frozen_clock(NEW_YEAR + timedelta(days=1)):
            pass
        assert clock.now() == NEW_YEAR


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("outside", [True, False])
def test_an_error_of_the_database_leaves_no_frozen_clock_behind(outside):
    with pytest.raises(DatabaseError):
        if outside:
            with frozen_clock(NEW_YEAR), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
        else:
            with transaction.atomic(), frozen_clock(NEW_YEAR), connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
    assert session_setting() == ""


@pytest.mark.django_db
def test_a_move_that_is_rolled_back_did_not_happen():
    with frozen_clock(NEW_YEAR) as frozen:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            frozen.tick(60)
            raise ZeroDivisionError
        assert frozen.now == NEW_YEAR


@pytest.mark.django_db
def test_a_moment_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"), frozen_clock(datetime(2031, 1, 1)):
        pass


@pytest.mark.django_db
def test_everything_that_the_queue_writes_carries_the_frozen_time():
    with frozen_clock(NEW_YEAR) as frozen:
        task = spawn_note(scheduled_at=NEW_YEAR + timedelta(hours=1))
        assert len(drain()) == 0
        frozen.tick(3600)
        assert drain().only.outcome == "completed"
        task.refresh_from_db()
        assert task.completed_at == NEW_YEAR + timedelta(hours=1)
        assert set(TaskEvent.objects.values_list("created_at", flat=True)) == {NEW_YEAR, task.completed_at}
