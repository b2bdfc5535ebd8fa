"""Whatever comes from outside is shown escaped, by every command; a closed pipe is no fault."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.formats import escaped
from tasks_app.management.output import PrintingCommand, SafeOutput
from tasks_app.management.printing import SafeConsole, table
from tasks_app.models import Task, Worker

ROOT = Path(__file__).resolve().parents[3]
OURS = ("absurd_project", "tasks_app", "pipeline_app", "workers")
TRAP = "\x1b]0;PWN\x07\x1b[2J\x9b31mred\r\u202e[/b] [red] :smile: \udcff"
DANGEROUS = ("\x1b", "\x07", "\x9b", "\r", "\u202e", "\udcff")


def is_harmless(text: str) -> bool:
    return not any(character in text for character in DANGEROUS)


def test_escapes_say_which_character_it_was_and_leave_the_rest():
    assert escaped("a\x1b\x9b\u202e\U000e0001é ☃\n\udcff", keep="\n") == (
        "a\\u001b\\u009b\\u202e\\U000e0001é ☃\n\\udcff"
    )


def test_every_command_of_ours_writes_through_the_safe_output():
    found = {name: app for name, app in get_commands().items() if isinstance(app, str) and app.split(".")[0] in OURS}
    assert len(found) > 20
    for name, app in found.items():
        command = importlib.import_module(f"{app}.management.commands.{name}").Command
        assert issubclass(command, PrintingCommand), name
        assert isinstance(command().stdout, SafeOutput) and isinstance(command().stderr, SafeOutput), name


def test_no_other_console_markup_or_print_is_used():
    allowed = {"tasks_app/management/printing.py"}
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            source = path.read_text()
            name = str(path.relative_to(ROOT))
            assert name in allowed or " Console(" not in source, name
            assert "from_markup" not in source, name
            assert "TextColumn(" not in source or "markup=False" in source, name


def test_a_console_shows_markup_and_control_characters_as_text():
    stream = io.StringIO()
    console = SafeConsole(stream)
    rows = Table("a", TRAP, title=TRAP)
    rows.add_row(TRAP, Text(TRAP))
    console.print(rows)
    console.print(TRAP)
    console.print(Text(TRAP, "red"))
    with Progress(TextColumn("{task.description}", markup=False), console=console) as bars:
        bars.add_task(TRAP)
    shown = stream.getvalue()
    assert is_harmless(shown)
    assert shown.count("PWN") == 7 and "[/b] [red] :smile:" in shown


def test_a_plain_table_shows_control_characters_as_text():
    assert is_harmless("".join(table(("A",), [(TRAP,)])))


def test_a_stream_that_lacks_a_character_gets_its_escape():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    output = SafeOutput(stream)
    output.write("10 ± 2 ✓")
    output.flush()
    assert raw.getvalue() == b"10 \\xb1 2 \\u2713\n"


class Sample(PrintingCommand):
    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(TRAP)


def test_a_stream_that_the_caller_gives_is_made_safe_too():
    stream = io.StringIO()
    call_command(Sample(), stdout=stream)
    assert is_harmless(stream.getvalue()) and "PWN" in stream.getvalue()


@pytest.fixture
def hostile_rows(transactional_db: None) -> Task:
    """A failed task, a run, a worker and more whose texts came from an enemy."""
    trap = TRAP.replace("\udcff", "")
    task = spawn(TaskOptions(task_name="echo", params={"value": trap}), actor=trap)
    Task.objects.filter(pk=task.pk).update(
        status="failed", failure_class="error", error=trap, completed_at=task.created_at, progress_message=trap
    )
    Worker.objects.create(
        label=trap, host=trap, host_id=trap, pid=1, queues=["dsa110-pipeline"], concurrency=1, heartbeat_sec=600
    )
    task.refresh_from_db()
    return task


SHOWING = [
    ["absurd_tasks", "list"],
    ["absurd_tasks", "show", "{id}"],
    ["absurd_tasks", "show", "{id}", "--json"],
    ["absurd_explain", "{id}"],
    ["absurd_workers", "list"],
    ["absurd_workers", "list", "--json"],
    ["absurd_runs", "list"],
    ["absurd_stats"],
    ["absurd_health"],
    ["absurd_monitor", "--once"],
    ["absurd_retry", "{id}", "--dry-run"],
]


@pytest.mark.parametrize("arguments", SHOWING, ids=" ".join)
def test_commands_that_show_rows_show_them_harmless(hostile_rows, capsys, arguments):
    try:
        call_command(*(argument.format(id=hostile_rows.task_id) for argument in arguments))
    except SystemExit:
        pass
    except Exception as error:
        assert type(error).__name__ == "CommandError", error
    shown = capsys.readouterr()
    assert shown.out + shown.err and is_harmless(shown.out + shown.err)
    if "--json" in arguments:
        assert TRAP[:10] in texts_of(json.loads(shown.out)), "JSON keeps what it was"


def texts_of(content: object) -> str:
    """Return all texts of a JSON document, one after another."""
    if isinstance(content, dict):
        return "".join(map(texts_of, content.values()))
    return "".join(map(texts_of, content)) if isinstance(content, list) else str(content)


def closed_pipe() -> int:
    """Return the end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["absurd_tasks", "list"], 141), (["absurd_stats", "--json"], 141), (["absurd_setup", "--new-password"], 0)],
)
def test_a_closed_pipe_ends_quietly(live_environment, arguments, code):
    with os.fdopen(closed_pipe(), "w") as pipe:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=live_environment, stdout=pipe, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "")
