"""absurd_setup, absurd_up and absurd_down as a user runs them."""

from __future__ import annotations

import io
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import IO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from absurd_project import accounts
from absurd_project.local import liveness
from absurd_project.local import servers as embedded
from absurd_project.local.state import running
from tasks_app.models import ApiKey, Schedule

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def var(tmp_path, settings) -> Path:
    settings.ABSURD_VAR = tmp_path / "state"
    return settings.ABSURD_VAR


def setup_says(*arguments: str) -> str:
    output = io.StringIO()
    call_command("absurd_setup", *arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return line.getsockname()[1]


@pytest.mark.django_db
def test_setup_of_a_new_database_makes_the_daily_backup_which_stays_deleted(var):
    assert "schedule backup-database" in setup_says()
    assert Schedule.objects.get().enabled
    Schedule.objects.all().delete()
    assert "schedule" not in setup_says()
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_setup_makes_an_operator_who_can_log_in_and_shows_the_password_once(var):
    first = setup_says()
    password = accounts.password_file(var).read_text().strip()
    assert password in first
    operator = User.objects.get(username="operator")
    assert operator.check_password(password)
    assert operator.is_staff and not operator.is_superuser
    assert [group.name for group in operator.groups.all()] == ["Operator"]
    assert len(password) >= 16
    again = setup_says()
    assert password not in again
    assert User.objects.get(username="operator").check_password(password)


@pytest.mark.django_db
def test_the_secrets_are_readable_by_their_owner_alone(var):
    old = os.umask(0)
    try:
        setup_says()
    finally:
        os.umask(old)
    for path in (accounts.password_file(var), accounts.api_key_file(var)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.django_db
def test_the_api_key_works_and_is_replaced_only_when_it_no_longer_does(var):
    setup_says()
    key = accounts.api_key_file(var).read_text().strip()
    assert ApiKey.objects.get_from_key(key).owner.username == "operator"
    assert ApiKey.objects.get_from_key(key).scopes == ["read", "spawn", "operate"]
    setup_says()
    assert accounts.api_key_file(var).read_text().strip() == key
    ApiKey.objects.all().delete()
    setup_says()
    assert ApiKey.objects.is_valid(accounts.api_key_file(var).read_text().strip())


@pytest.mark.django_db
def test_a_password_changed_in_the_console_is_kept_unless_a_new_one_is_asked_for(var):
    setup_says()
    operator = User.objects.get(username="operator")
    operator.set_password("chosen by the operator")
    operator.save()
    setup_says()
    operator.refresh_from_db()
    assert operator.check_password("chosen by the operator")
    setup_says("--new-password")
    operator.refresh_from_db()
    assert operator.check_password(accounts.password_file(var).read_text().strip())


def manage(
    environment: dict[str, str], *arguments: str, stdout: int | IO[str] = subprocess.PIPE
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=CHECKOUT,
        env=environment,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_busy_port_is_refused_with_one_clear_line(live_environment):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = manage(live_environment | {"ABSURD_PORT": str(port)}, "absurd_up")
        output, _ = command.communicate(timeout=120)
    assert command.returncode == 2, output
    assert len(output.splitlines()) == 1
    assert f"port {port} is in use" in output and "ABSURD_PORT" in output


@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_a_refusal_leaves_no_servers_behind(bare_environment, options):
    var = Path(bare_environment["ABSURD_VAR"])
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        for arguments in (("--port", port), ("--port", "70000"), ("--prot", "8000")):
            command = manage(bare_environment, "absurd_up", *arguments, *options)
            output, _ = command.communicate(timeout=120)
            assert (command.returncode, len(output.splitlines())) == (2, 1), output
            assert not embedded.status(var).running


WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a directory of another user")
@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["manage.py", "absurd_up"], 2),
        (["manage.py", "absurd_down"], 2),
        (["manage.py", "absurd_tasks", "list"], 75),
        (["-m", "absurd_project.local", "down"], 1),
        (["-m", "absurd_project.local", "purge", "--yes"], 1),
    ],
)
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_another_users_state_directory_is_refused_in_one_line(bare_environment, argv, code, mode):
    var = Path(bare_environment["ABSURD_VAR"])
    (var / "run").mkdir(parents=True)
    (var / "servers.lock").touch()
    for path in (var, var / "run", var / "servers.lock"):
        os.chown(path, 65534, 65534)
    var.chmod(mode)
    done = subprocess.run(
        [*WITHOUT_ROOTS_RIGHTS, sys.executable, *argv],
        cwd=CHECKOUT, env=bare_environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1), done.stderr
    assert str(var) in done.stderr


def wait_for_page(url: str, timeout_sec: float = 120.0) -> int:
    deadline = time.monotonic() + timeout_sec
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.status
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.fixture
def bare_environment(tmp_path) -> dict[str, str]:
    """The environment of a user who sets nothing but the state directory: private servers, all defaults."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ABSURD_", "PYTEST_"))}
    return inherited | {"ABSURD_VAR": str(tmp_path / "var")}


def test_up_serves_the_console_refuses_a_second_one_and_leaves_no_process_behind(bare_environment, free_port, tmp_path):
    environment = bare_environment | {"ABSURD_PORT": str(free_port)}
    var = Path(environment["ABSURD_VAR"])
    with (tmp_path / "output").open("w+") as output:
        up = manage(environment, "absurd_up", stdout=output)
        try:
            assert wait_for_page(f"http://127.0.0.1:{free_port}/admin/login/") == 200
            assert running(var) == up.pid
            family_of(up.pid, at_least=5)
            second = manage(environment | {"ABSURD_PORT": str(free_port + 1)}, "absurd_up")
            refusal, _ = second.communicate(timeout=120)
            assert second.returncode == 2, refusal
            assert f"process {up.pid}" in refusal
            servers = embedded.status(var)
            family = family_of(up.pid, at_least=5) | {servers.postgres_pid, servers.valkey_pid}
            up.send_signal(signal.SIGTERM)
            assert up.wait(timeout=60) == 0
        finally:
            up.kill()
            up.wait()
            embedded.stop(var)
            print((tmp_path / "output").read_text())
        output.seek(0)
        lines = output.read().splitlines()
    assert not [pid for pid in family if liveness.alive(pid)]
    assert any(f"http://127.0.0.1:{free_port}/admin/" in line for line in lines)
    assert any("user operator, password in" in line for line in lines)
    assert any(line.startswith("worker-2 ") for line in lines)
    logs = {path.name for path in (var / "log").glob("*.log")}
    assert logs >= {"web.log", "worker-1.log", "worker-2.log", "ingest.log", "stack.log", "postgres.log", "valkey.log"}
    assert not accounts.password_file(var).stat().st_mode & 0o077


def family_of(pid: int, at_least: int) -> set[int]:
    """Return a supervisor and its descendants once all of them have been started."""
    deadline = time.monotonic() + 60
    while len(family := {pid, *liveness.descendants(pid)}) < at_least:
        assert time.monotonic() < deadline, f"only {family} run"
        time.sleep(0.05)
    return family


def test_down_stops_a_detached_stack(live_environment, free_port):
    environment = live_environment | {"ABSURD_PORT": str(free_port)}
    var = Path(environment["ABSURD_VAR"])
    try:
        up = manage(environment, "absurd_up", "--detach")
        output, _ = up.communicate(timeout=150)
        assert up.returncode == 0, output
        pid = running(var)
        assert pid is not None
    finally:
        down = manage(environment, "absurd_down")
        output, _ = down.communicate(timeout=120)
    assert f"stopped the stack (process {pid})" in output
    assert down.returncode == 0
    assert running(var) is None
