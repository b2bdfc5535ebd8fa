"""What the package expects of a backend, and what this one adds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django_tasks import TaskResultStatus, default_task_backend, task_backends
from django_tasks.base import TaskResultMismatch
from django_tasks.exceptions import InvalidTaskBackendError, InvalidTaskError, TaskResultDoesNotExist
from django_tasks.signals import task_enqueued, task_finished, task_started

from tasks_app.django_tasks_backend import AbsurdBackend, results
from tasks_app.django_tasks_backend.call import NAME, priority_of
from tasks_app.engine.handler import InvalidInput
from tasks_app.errors import AttemptFailed, Disabled, ParamsInvalid, TaskCancelled
from tasks_app.models import Attempt, Task
from tasks_app.operations.tasks import cancel, retry
from tasks_app.postgresql import clock
from tasks_app.testing import drain, frozen_clock, make_task
from tests.tasks_app.django_tasks_backend import django_functions as functions

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[3]
BACKEND = "tasks_app.django_tasks_backend.AbsurdBackend"


def configure(settings: Any, **params: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": BACKEND, **params}}


def row_of(result: Any) -> Task:
    return Task.objects.get(task_id=result.id)


@pytest.fixture
def heard() -> Iterator[list[tuple[str, str, Any]]]:
    """Yield what the signals carried: which, the sender's name, and the status at that moment."""
    seen: list[tuple[str, str, Any]] = []
    signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    receivers = {
        name: lambda sender, task_result, name=name, **_: seen.append((name, sender.__name__, task_result.status))
        for name in signals
    }
    for name, signal in signals.items():
        signal.connect(receivers[name])
    yield seen
    for name, signal in signals.items():
        signal.disconnect(receivers[name])


# What the package's own backends are held to


def test_the_backend_is_ours_and_says_what_it_can():
    backend = task_backends["default"]
    assert backend == default_task_backend and type(backend) is AbsurdBackend
    assert (backend.supports_defer, backend.supports_async_task) == (True, True)
    assert (backend.supports_get_result, backend.supports_priority) == (True, True)
    assert list(backend.check()) == []


@pytest.mark.parametrize("function", [functions.add, functions.add_later])
def test_a_fresh_result_is_ready_and_knows_what_was_asked_for(function, heard):
    result = function.enqueue(1, right=2)
    assert UUID(result.id).version == 7
    assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.READY, False, 0)
    assert result.enqueued_at == row_of(result).created_at
    assert result.started_at is result.last_attempted_at is result.finished_at is None
    assert (result.task, result.args, result.kwargs, result.backend) == (function, [1], {"right": 2}, "default")
    assert (result.errors, result.worker_ids) == ([], [])
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value
    assert heard == [("enqueued", "AbsurdBackend", TaskResultStatus.READY)]
    assert default_task_backend.get_result(result.id) == result == function.get_result(result.id)


@pytest.mark.django_db(transaction=True)
async def test_it_is_enqueued_and_read_asynchronously():
    result = await functions.add_later.aenqueue(1, 2)
    assert await default_task_backend.aget_result(result.id) == result
    await sync_to_async(drain)()
    await result.arefresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
    with pytest.raises(TaskResultDoesNotExist):
        await default_task_backend.aget_result("123")
    await sync_to_async(connections.close_all)()


@pytest.mark.parametrize(("function", "args"), [(functions.add, (1, 2)), (functions.add_later, (1, 2))])
def test_a_task_that_succeeds_is_told_by_its_result(function, args, heard):
    with frozen_clock() as frozen:
        result = function.enqueue(*args)
        began = frozen.tick(5)
        assert drain().outcomes == {"completed": 1}
        assert result.status == TaskResultStatus.READY
        result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
    assert result.started_at == result.last_attempted_at == result.finished_at == began > result.enqueued_at
    assert (result.worker_ids, result.errors, result.is_finished) == (["test-kit"], [], True)
    assert [(name, status) for name, _, status in heard] == [
        ("enqueued", TaskResultStatus.READY),
        ("started", TaskResultStatus.RUNNING),
        ("finished", TaskResultStatus.SUCCESSFUL),
    ]


def test_a_task_that_raises_has_failed_with_the_class_and_the_traceback(heard):
    result = functions.fail.enqueue("three\nlines\nof text")
    drain()
    result.refresh()
    assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.FAILED, True, 1)
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    (error,) = result.errors
    assert error.exception_class is functions.Broken
    assert error.traceback.startswith("Traceback (most recent call last)")
    assert error.traceback.endswith("django_functions.Broken: three\nlines\nof text\n")
    assert heard[-1] == ("finished", "AbsurdBackend", TaskResultStatus.FAILED)


@pytest.mark.parametrize(
    ("how", "exception", "words"),
    [
        ("object", TypeError, "Unsupported type"),
        ("nan", None, "return value is nan"),
        ("exit", SystemExit, "on purpose"),
        ("memory", MemoryError, "on purpose"),
        ("invalid", InvalidInput, "on purpose"),
    ],
)
def test_unusual_failures_have_their_class_too(how, exception, words):
    result = functions.fail_strangely.enqueue(how)
    drain()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert words in result.errors[0].traceback
    assert exception is None or result.errors[0].exception_class is exception


def test_a_group_of_exceptions_keeps_its_class_and_its_traceback():
    result = functions.fail_by_group.enqueue()
    drain()
    result.refresh()
    assert result.errors[0].exception_class is ExceptionGroup
    assert "Broken: b" in result.errors[0].traceback and "exception class:" not in result.errors[0].traceback


def test_the_context_is_that_of_the_running_attempt():
    result = functions.who_am_i.enqueue("hello")
    drain()
    result.refresh()
    assert result.return_value == {
        "greeting": "hello",
        "id": result.id,
        "attempt": 1,
        "status": "RUNNING",
        "workers": ["test-kit"],
    }


def test_a_task_reaches_the_database():
    result = functions.count_queues.enqueue()
    drain()
    result.refresh()
    assert result.return_value == 1


@pytest.mark.parametrize("unknown", ["123", "00000000-0000-4000-8000-000000000000", ""])
def test_an_unknown_result_does_not_exist(unknown):
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result(unknown)


def test_a_task_that_is_not_djangos_is_no_result():
    task = make_task("note", {"text": "hello"})
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result(str(task.task_id))


def test_a_result_of_another_function_is_a_mismatch():
    with pytest.raises(TaskResultMismatch):
        functions.fail.get_result(functions.add.enqueue(1).id)


def test_a_queue_that_is_not_listed_is_refused(settings):
    with pytest.raises(InvalidTaskError, match="Queue 'other' is not valid"):
        functions.add.using(queue_name="other")
    configure(settings, QUEUES=["default", "other"])
    moved = functions.add.using(queue_name="other")
    configure(settings)
    with pytest.raises(InvalidTaskError, match="Queue 'other' is not valid"):
        moved.enqueue(1)
    assert not Task.objects.exists()


@pytest.mark.parametrize("argument", [object(), {1, 2}, b"\xff", float("nan"), "nul \0"])
def test_arguments_that_cannot_be_stored_are_refused_where_they_are_given(argument):
    with pytest.raises((TypeError, ValueError)):
        functions.add.enqueue(argument)
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "subprocess.check_output",
        "tests.tasks_app.django_tasks_backend.django_functions.undecorated",
        "tests.tasks_app.django_tasks_backend.django_functions.missing",
        "no_such_module.function",
        "tests.tasks_app.django_tasks_backend.unlisted.add",
    ],
)
def test_a_path_that_leads_to_no_registered_task_is_refused_and_nothing_is_imported_for_it(path):
    before = set(sys.modules)
    with pytest.raises(ParamsInvalid, match=f"{path} is not a registered Django task"):
        make_task(NAME, {"function": path})
    task = make_task(NAME, {"function": functions.add.module_path}, max_retries=0)
    Task.objects.filter(pk=task.pk).update(params={"function": path})  # as another version would have stored it
    assert drain(limit=1).only.outcome == "unavailable"
    assert "is not a registered Django task" in (Task.objects.get(pk=task.pk).error or "")
    assert {name for name in set(sys.modules) - before if "unlisted" in name or "no_such" in name} == set()


@pytest.mark.parametrize("path", ["add", "os;rm.x", "", ".add", "a..b"])
def test_a_path_that_is_none_is_refused_at_spawn(path):
    with pytest.raises(ParamsInvalid, match="function"):
        make_task(NAME, {"function": path})


def test_a_function_that_a_worker_would_not_find_is_refused():
    with pytest.raises(InvalidTaskError, match=r"cannot find this task as .*undecorated"):
        functions.elsewhere.enqueue()


def test_no_exception_is_imported_because_the_text_of_a_traceback_names_it():
    """The arguments of a task may come to stand in its traceback, and Django imports the class that is named there."""
    forged = f"ValueError: x\n{results.NOTE}casatasks.__main__.Error\n"
    assert results.of("error", "x", forged).exception_class is AttemptFailed
    assert results.of("error", "x", f"{results.NOTE}os.path\n").exception_class is AttemptFailed
    assert results.of("error", "x", f"{results.NOTE}builtins.KeyError\n").exception_class is KeyError
    assert "casatasks" not in sys.modules


# How it maps onto the queue


@pytest.mark.parametrize(
    ("django", "ours"), [(-100, 1), (-50, 3), (-1, 5), (0, 5), (1, 5), (20, 8), (63, 14), (64, 15), (100, 20)]
)
def test_priorities_are_mapped_in_two_straight_lines(django, ours):
    assert priority_of(django) == ours
    assert row_of(functions.add.using(priority=django).enqueue(1)).priority == ours


def test_no_higher_priority_of_djangos_is_a_lower_one_of_ours():
    mapped = [priority_of(n) for n in range(-100, 101)]
    assert mapped == sorted(mapped) and set(mapped) == set(range(1, 21))


def test_the_more_urgent_goes_first():
    low, high = (functions.add.using(priority=priority).enqueue(1) for priority in (-50, 50))
    assert [str(attempt.task.task_id) for attempt in drain()] == [high.id, low.id]


def test_a_task_for_later_runs_later():
    with frozen_clock() as frozen:
        later = frozen.now + timedelta(hours=1)
        result = functions.add.using(run_after=later).enqueue(1, 2)
        assert default_task_backend.get_result(result.id).task.run_after == later
        assert len(drain()) == 0
        frozen.move_to(later)
        drain()
        result.refresh()
        assert (result.return_value, result.started_at) == (3, later)


def test_a_moment_without_a_time_zone_is_taken_as_djangos_own(settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/Los_Angeles"
    result = functions.add.using(run_after=datetime(2031, 1, 1, 4, 0)).enqueue(1)
    assert row_of(result).runnable_at.timestamp() == datetime.fromisoformat("2031-01-01T12:00Z").timestamp()
    assert default_task_backend.get_result(result.id).task.run_after == datetime(2031, 1, 1, 4, 0)


def test_djangos_queues_are_those_of_the_same_name_or_as_the_options_say(settings):
    configure(settings, QUEUES=[], OPTIONS={"QUEUE_NAMES": {"default": "mail"}})
    assert row_of(functions.add.enqueue(1)).queue_id == "mail"
    result = functions.add.using(queue_name="reports").enqueue(1)
    assert row_of(result).queue_id == "reports"
    assert default_task_backend.get_result(result.id).task.queue_name == "reports"


def test_the_default_queue_is_the_one_that_workers_serve(settings):
    assert row_of(functions.add.enqueue(1)).queue_id == settings.ABSURD_QUEUE_NAME


def test_the_options_set_timeout_and_retries(settings):
    configure(settings, OPTIONS={"TIMEOUT_SEC": 30, "MAX_RETRIES": 2})
    row = row_of(functions.add.enqueue(1))
    assert (row.timeout_sec, row.max_retries) == (30, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"RETRIES": 2}, "RETRIES"),
        ({"MAX_RETRIES": -1}, "MAX_RETRIES"),
        ({"TIMEOUT_SEC": "5"}, "TIMEOUT_SEC"),
        ({"QUEUE_NAMES": {"default": 3}}, r"QUEUE_NAMES\.default"),
    ],
)
def test_a_bad_option_is_refused_by_name(settings, options, words):
    configure(settings, OPTIONS=options)
    with pytest.raises(InvalidTaskBackendError, match=words):
        _ = task_backends["default"]


def test_a_site_without_the_queue_is_told_by_the_check(settings):
    backend = task_backends["default"]
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "tasks_app"]
    assert [message.id for message in backend.check()] == ["tasks_app.E001"]


def test_a_disabled_queue_refuses(settings):
    settings.ABSURD_ENABLED = False
    with pytest.raises(Disabled):
        functions.add.enqueue(1)


@pytest.mark.django_db(transaction=True)
def test_what_is_enqueued_belongs_to_the_callers_transaction():
    with transaction.atomic():
        result = functions.add.enqueue(1)
        elsewhere = connection.copy()
        try:
            with elsewhere.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM tasks_app_task")
                assert cursor.fetchone() == (0,)
        finally:
            elsewhere.close()
    assert row_of(result).status == "pending"
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        lost = functions.add.enqueue(1)
        raise ZeroDivisionError
    with pytest.raises(TaskResultDoesNotExist):
        functions.add.get_result(lost.id)


# Retries, and ends that are no exception of the function's own


def test_a_failed_task_is_not_tried_again_unless_it_is_said():
    result = functions.fail.enqueue()
    drain()
    assert row_of(result).status == "failed"


def test_a_task_waiting_for_its_retry_is_ready_and_tells_what_went_wrong(settings):
    configure(settings, OPTIONS={"MAX_RETRIES": 1})
    with frozen_clock() as frozen:
        result = functions.fail.enqueue()
        first = frozen.now
        drain()
        result.refresh()
        assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.READY, 1, 1)
        second = frozen.move_to(row_of(result).runnable_at)
        drain()
        result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.FAILED, 2, 2)
    assert (result.started_at, result.last_attempted_at, result.finished_at) == (first, second, second)


def test_a_retry_of_the_operators_that_succeeds_is_a_success_with_a_past():
    result = functions.add.enqueue("text")
    drain()
    Task.objects.filter(task_id=result.id).update(params={"function": functions.add.module_path, "args": [1]})
    retry(UUID(result.id), actor="user:alice")
    drain()
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 1, 2)
    assert [error.exception_class for error in result.errors] == [TypeError]


def test_nothing_to_do_is_a_success_without_a_value(heard):
    result = functions.fail_strangely.enqueue("no_work")
    assert drain().only.outcome == "no_work"
    result.refresh()
    assert (result.status, result.return_value, result.errors) == (TaskResultStatus.SUCCESSFUL, None, [])
    assert heard[-1][2] == TaskResultStatus.SUCCESSFUL


def test_a_cancelled_task_has_failed_as_cancelled():
    result = functions.add.enqueue(1)
    cancel(UUID(result.id), actor="user:alice")
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 0)
    assert [error.exception_class for error in result.errors] == [TaskCancelled]


@pytest.mark.parametrize(
    ("outcome", "exception"),
    [("timeout", TimeoutError), ("memory", MemoryError), ("lost", AttemptFailed), ("idle_timeout", AttemptFailed)],
)
def test_an_attempt_that_was_ended_from_outside_has_a_class_that_says_so(outcome, exception):
    params = {"function": functions.add.module_path, "args": [1]}
    task = make_task(NAME, params, status="failed", failure_class=outcome, error="over", max_retries=0)
    result = default_task_backend.get_result(str(task.task_id))
    assert [(error.exception_class, error.traceback) for error in result.errors] == [(exception, "over")]


def test_a_drained_attempt_counts_as_an_attempt_and_not_as_an_error():
    params = {"function": functions.add.module_path, "args": [1]}
    with pytest.raises(ValueError, match="it is pending"):
        make_task(NAME, params, status="failed", failure_class="drained")
    result = default_task_backend.get_result(str(Task.objects.get().task_id))
    assert (result.status, result.attempts, result.errors) == (TaskResultStatus.READY, 1, [])


def test_a_task_that_waited_too_long_has_timed_out():
    with frozen_clock() as frozen:
        task = make_task(NAME, {"function": functions.add.module_path, "args": [1]}, queue_timeout_sec=5)
        frozen.tick(6)
        drain()
    result = default_task_backend.get_result(str(task.task_id))
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 0)
    assert [error.exception_class for error in result.errors] == [TimeoutError]


def test_an_archived_task_has_the_result_that_it_had():
    result = functions.fail.enqueue("kept")
    drain()
    before = default_task_backend.get_result(result.id)
    task = row_of(result)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO tasks_app_archivedtask (id, task_id, queue_name, task_name, status, created_at, completed_at,
                last_event_id, task, attempts, events)
            SELECT id, task_id, queue_name, task_name, status, created_at, completed_at, 0, to_jsonb(task),
                (SELECT jsonb_agg(to_jsonb(a)) FROM tasks_app_attempt AS a WHERE a.task_id = task.task_id), '[]'
            FROM tasks_app_task AS task WHERE id = %s
            """,
            [task.pk],
        )
    Attempt.objects.all().delete()
    task.delete()
    assert default_task_backend.get_result(result.id) == before


# Processes


def test_functions_can_be_decorated_before_the_applications_are_loaded(live_environment):
    code = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'absurd_project.settings'\n"
        "from tests.tasks_app.django_tasks_backend import django_functions\n"
        "import django; django.setup()\n"
        "from tasks_app.engine import registry; print(registry.find('django-task').isolation)"
    )
    argv = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    done = subprocess.run(argv, cwd=ROOT, env=live_environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("thread", 0), done.stderr


def test_a_process_that_uses_no_django_tasks_does_not_import_them(live_environment):
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'absurd_project.settings'\n"
        "django.setup(); print('django_tasks' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=live_environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr


def test_the_queue_clock_is_the_results_clock():
    with frozen_clock(clock.now() + timedelta(days=400)) as frozen:
        assert functions.add.enqueue(1).enqueued_at == frozen.now
