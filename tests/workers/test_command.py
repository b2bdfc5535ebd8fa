from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command, get_commands

from workers import options
from workers.apps import runworker_is_ours
from workers.management.commands.runworker import Command


def test_runworker_is_ours():
    assert get_commands()["runworker"] == "workers"
    assert runworker_is_ours() == []


def test_a_check_refuses_channels_where_its_command_would_win(settings):
    settings.INSTALLED_APPS = ["channels", *settings.INSTALLED_APPS]
    get_commands.cache_clear()
    try:
        assert [fault.id for fault in runworker_is_ours()] == ["workers.E001"]
    finally:
        get_commands.cache_clear()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--concurrency", "0"],
        ["--concurrency", "many"],
        ["--poll-interval", "nan"],
        ["--poll-interval", "0"],
        ["--max-tasks", "-1"],
        ["--memory-gb", "inf"],
        ["--queue-name", "fast=1"],
        ["--cores", "0"],
        ["--max-age", "0"],
        ["--worker-id", " "],
        ["--max-task", "1"],
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        Command().create_parser("manage.py", "runworker").parse_args(arguments)
    output = capsys.readouterr().err
    assert end.value.code == 2
    assert output.count("\n") == 1 and arguments[0] in output


def test_the_settings_stand_in_for_what_is_not_given(settings):
    settings.ABSURD_WORKER_CONCURRENCY = 3
    parsed = vars(Command().create_parser("manage.py", "runworker").parse_args([]))
    chosen = options.from_parsed(parsed)
    assert (chosen.queue_names, chosen.concurrency) == ((settings.ABSURD_QUEUE_NAME,), 3)
    assert chosen.worker_id and chosen.memory_gb == options.default_memory_gb() > 0


def test_queues_can_be_named_several_times():
    arguments = ["--queue-name", "b", "--queue-name", "a", "--queue-name", "b"]
    parsed = vars(Command().create_parser("manage.py", "runworker").parse_args(arguments))
    assert options.from_parsed(parsed).queue_names == ("b", "a")


@pytest.mark.django_db
def test_it_refuses_to_start_as_long_as_absurd_was_never_enabled(settings):
    settings.ABSURD_ENABLED = False
    with pytest.raises(CommandError, match="absurd_enable"):
        call_command("runworker")


def test_it_refuses_a_database_url_that_came_too_late():
    with pytest.raises(CommandError, match="command line"):
        call_command("runworker", database_url="postgresql://elsewhere/absurd")
