"""The supervisor, with small real processes in the place of web and workers."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from absurd_project.local import liveness
from absurd_project.local import supervisor as child_module
from absurd_project.local.output import LogFiles, PrefixedLines
from absurd_project.local.state import AlreadyRunning, running, stop_running
from absurd_project.local.supervisor import Process, Stack

CHECKOUT = Path(__file__).resolve().parents[3]
SLEEPER = "import time; time.sleep(300)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
)
SECOND_TERM = """
import signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1) or (len(asked) > 1 and sys.exit(0)))
print("draining", flush=True)
while True: time.sleep(0.1)
"""


@pytest.fixture(autouse=True)
def external_servers(monkeypatch):
    """These stacks watch over no private servers."""
    monkeypatch.setenv("ABSURD_DATABASE_URL", "postgresql://db.example/x")
    monkeypatch.setenv("ABSURD_REDIS_URL", "redis://redis.example")


def script(name: str, code: str, **environment: str) -> Process:
    return Process(name=name, argv=(sys.executable, "-c", code), environment=environment)


def poll_until(stack: Stack, met: Callable[[], object], timeout_sec: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_sec
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        stack.poll()
        time.sleep(0.02)


def pids(stack: Stack) -> list[int]:
    return [child.pid for child in stack.children if child.pid]


def log_of(var: Path, name: str) -> str:
    path = LogFiles(var / "log").path(name)
    return path.read_text() if path.exists() else ""


def test_a_process_that_dies_is_started_again_and_the_others_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(child_module, "FIRST_DELAY_SEC", 0.2)
    with Stack([script("one", SLEEPER), script("two", SLEEPER)], var=tmp_path) as stack:
        first, second = pids(stack)
        os.kill(first, signal.SIGKILL)
        poll_until(stack, lambda: stack.children[0].restarts == 1 and stack.children[0].alive())
        assert stack.children[0].pid != first
        assert stack.children[1].pid == second
    assert "ended with SIGKILL; restart in" in log_of(tmp_path, "one")


def test_a_process_that_keeps_dying_is_started_with_growing_patience(tmp_path, monkeypatch):
    monkeypatch.setattr(child_module, "FIRST_DELAY_SEC", 0.1)
    with Stack([script("brief", "import time; print('at', time.time()); raise SystemExit(3)")], var=tmp_path) as stack:
        poll_until(stack, lambda: stack.children[0].restarts == 4)
        poll_until(stack, lambda: log_of(tmp_path, "brief").count("at ") == 5)
    lines = log_of(tmp_path, "brief").splitlines()
    starts = [float(line.split()[1]) for line in lines if line.startswith("at ")]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps[3] > gaps[1] > 0.2
    assert gaps[3] > 0.8
    assert sum("ended with exit code 3" in line for line in lines) >= 4


def test_a_process_that_may_end_is_left_alone_when_it_ended_well_and_started_again_when_not(tmp_path, monkeypatch):
    monkeypatch.setattr(child_module, "FIRST_DELAY_SEC", 0.1)
    codes = {"drained": 0, "crashed": 3}
    processes = [replace(script(name, f"raise SystemExit({code})"), may_end=True) for name, code in codes.items()]
    with Stack(processes, var=tmp_path) as stack:
        drained, crashed = stack.children
        poll_until(stack, lambda: crashed.restarts >= 2)
        assert drained.restarts == 0
    assert "ended as requested" in log_of(tmp_path, "drained")


def test_stopping_ends_every_process_and_everything_they_started(tmp_path):
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]).wait()"
    with Stack([script("parent", parent)], var=tmp_path) as stack:
        group = stack.children[0].pid

        def members() -> list[int]:
            found = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
            return [pid for pid in found if liveness.alive(pid) and liveness.group(pid) == group]

        poll_until(stack, lambda: len(members()) == 2)
    deadline = time.monotonic() + 120
    while members() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert members() == []


def test_a_process_deaf_to_sigterm_is_killed_after_its_grace(tmp_path):
    stack = Stack([script("deaf", STUBBORN)], var=tmp_path)
    stack.start()
    poll_until(stack, lambda: "deaf" in log_of(tmp_path, "deaf"))
    (pid,) = pids(stack)
    began = time.monotonic()
    stack.stop(grace_sec=0.3)
    assert time.monotonic() - began >= 0.6, "it was given its grace twice"
    assert not liveness.alive(pid)


def test_a_draining_worker_is_asked_a_second_time_before_it_is_killed(tmp_path):
    code = SECOND_TERM.replace("sys.exit(0)", "(print('left', flush=True), sys.exit(0))")
    stack = Stack([script("worker", code)], var=tmp_path)
    stack.start()
    poll_until(stack, lambda: "draining" in log_of(tmp_path, "worker"))
    stack.stop(grace_sec=1.0)
    assert "left" in log_of(tmp_path, "worker")


def test_a_state_directory_carries_one_stack_at_a_time(tmp_path):
    with Stack([script("one", SLEEPER)], var=tmp_path):
        assert running(tmp_path) == os.getpid()
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
            Stack([script("two", SLEEPER)], var=tmp_path).start()
    assert running(tmp_path) is None
    with Stack([script("three", SLEEPER)], var=tmp_path) as stack:
        assert len(pids(stack)) == 1


def test_a_pid_file_left_by_a_killed_stack_misleads_nobody(tmp_path):
    (tmp_path / "stack.pid").write_text(f"{os.getpid()}\n")
    assert running(tmp_path) is None
    assert stop_running(tmp_path, limit_sec=1.0) is None


def supervise_elsewhere(var: Path) -> subprocess.Popen[str]:
    code = f"""
import sys, threading
from pathlib import Path
from absurd_project.local.supervisor import Process
from absurd_project.local.supervisor import Stack
stack = Stack([Process(name="child", argv=(sys.executable, "-c", {SLEEPER!r}))], var=Path({str(var)!r}))
stack.start()
print(stack.children[0].pid, flush=True)
stack.run(threading.Event())
"""
    return subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)


@pytest.mark.chaos
def test_processes_end_with_a_supervisor_that_is_killed(tmp_path):
    supervisor = supervise_elsewhere(tmp_path)
    child = int(supervisor.stdout.readline())
    supervisor.kill()
    supervisor.communicate()
    assert liveness.wait_until_gone(child, 5.0)
    assert running(tmp_path) is None


def test_lines_carry_the_name_of_their_process():
    stream = io.StringIO()
    lines = PrefixedLines(["web", "worker-1"], stream)
    process = subprocess.Popen([sys.executable, "-c", "print('hello'); print('again')"], stdout=lines.target("web"))
    lines.attach("web", process)
    process.wait()
    deadline = time.monotonic() + 5
    while stream.getvalue().count("\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stream.getvalue().splitlines() == ["web      | hello", "web      | again"]


def test_a_process_gets_what_its_environment_adds(tmp_path):
    code = "import os, time; print(os.environ['ABSURD_PORT'], flush=True); time.sleep(300)"
    with Stack([script("one", code, ABSURD_PORT="8123")], var=tmp_path) as stack:
        poll_until(stack, lambda: "8123" in log_of(tmp_path, "one"))


def test_a_terminal_that_takes_nothing_holds_up_neither_supervisor_nor_process(tmp_path):
    read_end, write_end = os.pipe()
    stuck = os.fdopen(write_end, "w")
    code = "import pathlib, sys; print('x' * 300_000); pathlib.Path(sys.argv[1]).touch()"
    done = tmp_path / "done"
    process = Process(name="loud", argv=(sys.executable, "-c", code, str(done)))
    with Stack([process], var=tmp_path, output=PrefixedLines(["loud"], stuck)) as stack:
        poll_until(stack, done.exists)
        poll_until(stack, lambda: stack.children[0].restarts == 1)
    assert stack.children[0].restarts >= 1
    os.close(read_end)
    with contextlib.suppress(BrokenPipeError):
        stuck.close()


@pytest.mark.django_db
def test_a_process_that_ends_again_and_again_is_a_finding_of_health(tmp_path, settings, monkeypatch):
    from tasks_app.monitoring.health import faults

    monkeypatch.setattr(child_module, "FIRST_DELAY_SEC", 0.01)
    settings.ABSURD_VAR = tmp_path
    queue = settings.ABSURD_QUEUE_NAME
    with Stack([script("ingest", "raise SystemExit(3)"), script("web", SLEEPER)], var=tmp_path) as stack:
        assert faults.crash_loops(queue).state == "ok"
        poll_until(stack, lambda: stack.children[0].restarts >= 3)
        found = faults.crash_loops(queue)
    assert found.state == "warn"
    assert found.message.startswith("Ingest has ended") and "last with exit code 3" in found.message
    with Stack([script("ingest", SLEEPER)], var=tmp_path):
        assert faults.crash_loops(queue).state == "ok", "a new supervisor begins anew"


def test_lines_that_are_shown_are_kept_in_a_log_for_each_process_too(tmp_path):
    screen = io.StringIO()
    output = PrefixedLines(["web", "stack"], screen, logs=LogFiles(tmp_path / "log"))
    with Stack(
        [script("web", "print('ready \\x1b[31m')\nimport time; time.sleep(300)")], var=tmp_path, output=output
    ) as stack:
        poll_until(stack, lambda: "ready" in screen.getvalue())
        output.write_line("stack", "a line of its own")
    assert (tmp_path / "log" / "web.log").read_text() == "ready \x1b[31m\n"
    assert (tmp_path / "log" / "stack.log").read_text() == "a line of its own\n"
    assert "\x1b" not in screen.getvalue() and "\\u001b[31m" in screen.getvalue()
