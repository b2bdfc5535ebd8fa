"""Deep paths, odd paths, closed parents, and other people's directories."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from absurd_project.local import servers, unprivileged
from absurd_project.local.locations import Locations

CHECKOUT = Path(__file__).resolve().parents[3]
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def answer(var: Path) -> int:
    with psycopg.connect(servers.database_url(var)) as connection:
        return connection.execute("SELECT 42").fetchone()[0]


def owner_and_mode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, stat.S_IMODE(found.st_mode)


@pytest.mark.parametrize("name", ["d" * 130, "a space, and a comma", "umläut%20"])
def test_servers_start_below_a_path_that_a_socket_or_a_url_cannot_hold(tmp_path, name):
    var = tmp_path / name / "var"
    try:
        servers.ensure(var)
        assert answer(var) == 42
        sockets = Locations(var=var).sockets
        assert sockets.parent == Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".local/state/absurd", (
            "no cleaner goes there"
        )
        assert owner_and_mode(sockets) == (os.geteuid(), 0o700)
    finally:
        servers.purge(var)
    assert not sockets.exists()


def test_a_socket_directory_that_others_could_change_is_refused(tmp_path):
    var = tmp_path / ("d" * 130)
    trap = Locations(var=var).sockets
    trap.mkdir(mode=0o700, parents=True)
    trap.chmod(0o777)
    try:
        with pytest.raises(servers.EmbeddedServerError, match="not a directory that this user owns alone"):
            servers.ensure(var)
        assert not servers.status(var).running
    finally:
        trap.rmdir()


@as_root
def test_a_socket_directory_of_somebody_else_is_refused(tmp_path):
    var = tmp_path / ("d" * 130)
    trap = Locations(var=var).sockets
    trap.mkdir(mode=0o700, parents=True)
    os.chown(trap, NOBODY, NOBODY)
    try:
        with pytest.raises(servers.EmbeddedServerError, match="not a directory that this user owns alone"):
            servers.ensure(var)
    finally:
        trap.rmdir()


@as_root
def test_root_runs_postgres_unprivileged_without_changing_any_permission(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    var = closed / "var"
    parents = [closed, *closed.parents]
    before = [owner_and_mode(parent) for parent in parents]
    accounts = Path("/etc/passwd").read_bytes()
    try:
        servers.ensure(var)
        assert answer(var) == 42
        assert [owner_and_mode(parent) for parent in parents] == before
        assert Path("/etc/passwd").read_bytes() == accounts
        postgres = servers.status(var).postgres_pid
        assert Path(f"/proc/{postgres}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
        assert owner_and_mode(var / "postgres") == (0, 0o700)
    finally:
        servers.purge(var)


@as_root
def test_root_without_user_namespaces_falls_back_to_an_unprivileged_user(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(unprivileged, "namespaces_work", lambda: False)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    var = closed / "var"
    home = unprivileged.outside_home(Locations(var=var))
    try:
        servers.ensure(var)
        assert answer(var) == 42
        assert Path(f"/proc/{servers.status(var).postgres_pid}").stat().st_uid != 0
        assert owner_and_mode(closed)[1] == 0o700
        assert (var / "postgres").readlink() == home / "data"
        assert str(home) in caplog.text
        os.kill(servers.status(var).postgres_pid, 9)
        servers.ensure(var)
        assert answer(var) == 42
        servers.stop(var)
        assert not servers.status(var).running
    finally:
        servers.purge(var)
    assert not home.exists()


@as_root
def test_a_cluster_made_in_a_namespace_goes_on_where_namespaces_are_forbidden(fresh, monkeypatch):
    servers.ensure(fresh)
    with psycopg.connect(servers.database_url(fresh)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    servers.stop(fresh)
    monkeypatch.setattr(unprivileged, "namespaces_work", lambda: False)
    servers.ensure(fresh)
    with psycopg.connect(servers.database_url(fresh)) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def reachable_for_nobody() -> bool:
    try:
        return subprocess.run([sys.executable, "-c", ""], user=NOBODY, env={}, check=False).returncode == 0
    except PermissionError:
        return False


@as_root
@pytest.mark.skipif(
    os.geteuid() == 0 and not reachable_for_nobody(), reason="no Python within an ordinary user's reach"
)
def test_an_ordinary_user_starts_a_pair_that_root_can_then_use_and_restart():
    home = Path("/tmp") / f"absurd-user-{os.getpid()}"
    home.mkdir(mode=0o755)
    os.chown(home, NOBODY, NOBODY)
    var = home / "var"
    code = "from absurd_project.local import servers; servers.ensure()"
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            user=NOBODY,
            group=NOBODY,
            cwd=CHECKOUT,
            env={"ABSURD_VAR": str(var), "PATH": os.environ["PATH"]},
            check=True,
        )
        assert answer(var) == 42
        os.kill(servers.status(var).postgres_pid, 9)
        servers.ensure(var)
        assert answer(var) == 42
        assert Path(f"/proc/{servers.status(var).postgres_pid}").stat().st_uid == NOBODY
    finally:
        servers.purge(var)
        home.rmdir()
