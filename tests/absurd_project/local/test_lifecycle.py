"""Starting, attaching to and stopping the private servers, as a user's commands do it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis

from absurd_project.local import liveness, postgres, servers
from absurd_project.local.locations import Locations

CHECKOUT = Path(__file__).resolve().parents[3]
ENSURE = "import absurd_project.local.servers as s; s.ensure(); t = s.status(); print(t.postgres_pid, t.valkey_pid)"


def ensure_in_a_process(var: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE],
        cwd=CHECKOUT,
        env=os.environ | {"ABSURD_VAR": str(var)} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def query(var: Path, statement: str) -> object:
    with psycopg.connect(servers.database_url(var), autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


def test_urls_are_computed_without_starting_anything(fresh):
    assert servers.database_url(fresh).startswith("postgresql://")
    assert servers.redis_url(fresh).startswith("unix://")
    assert not fresh.exists()


def test_the_first_start_gives_a_database_and_a_redis_that_keep_their_promises(fresh):
    servers.ensure(fresh)
    assert query(fresh, "SELECT current_database()") == "absurd"
    wanted = {"fsync": "on", "synchronous_commit": "on", "listen_addresses": "", "TimeZone": "UTC"}
    wanted |= {"max_connections": "200", "shared_buffers": "128MB", "autovacuum_naptime": "3s"}
    assert {name: query(fresh, f"SHOW {name}") for name in wanted} == wanted
    client = redis.Redis.from_url(servers.redis_url(fresh))
    assert client.ping()
    assert client.config_get("save", "appendonly", "port") == {"save": "", "appendonly": "no", "port": "0"}
    client.close()
    assert stat.S_IMODE(Locations(var=fresh).sockets.stat().st_mode) == 0o700


def test_a_second_command_attaches_and_data_outlives_a_stop(fresh):
    servers.ensure(fresh)
    before = servers.status(fresh)
    with psycopg.connect(servers.database_url(fresh), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    servers.ensure(fresh)
    assert servers.status(fresh) == before
    assert servers.stop(fresh) == before
    assert not servers.status(fresh).running
    assert not any(liveness.alive(pid) for pid in (before.postgres_pid, before.valkey_pid))
    assert not (Locations(var=fresh).postgres_data / "postmaster.pid").exists()
    servers.ensure(fresh)
    assert query(fresh, "SELECT answer FROM kept") == 42


def test_commands_that_start_at_once_share_one_pair(fresh):
    commands = [ensure_in_a_process(fresh) for _ in range(4)]
    output = {command.communicate(timeout=60)[0] for command in commands}
    assert [command.returncode for command in commands] == [0] * 4
    assert len(output) == 1
    assert output.pop().split() == [str(pid) for pid in vars(servers.status(fresh)).values()]


def test_a_dropped_database_is_made_again(fresh):
    servers.ensure(fresh)
    with psycopg.connect(servers.database_url(fresh).replace("/absurd?", "/postgres?"), autocommit=True) as connection:
        connection.execute("DROP DATABASE absurd")
    servers.ensure(fresh)
    assert query(fresh, "SELECT current_database()") == "absurd"


@pytest.mark.parametrize(
    ("given", "runs"),
    [
        ({"ABSURD_DATABASE_URL": "postgresql://db.example/x"}, (False, True)),
        ({"ABSURD_REDIS_URL": "redis://redis.example"}, (True, False)),
        (
            {"ABSURD_DATABASE_URL": "postgresql://db.example/x", "ABSURD_REDIS_URL": "redis://redis.example"},
            (False, False),
        ),
    ],
)
def test_an_external_url_keeps_the_private_server_from_being_started(fresh, given, runs):
    command = ensure_in_a_process(fresh, **given)
    output, _ = command.communicate(timeout=60)
    assert command.returncode == 0
    assert tuple(word != "None" for word in output.split()) == runs


def test_servers_outlive_the_command_that_started_them_and_hold_none_of_its_files(fresh):
    command = ensure_in_a_process(fresh)
    output, _ = command.communicate(timeout=60)  # would wait for ever if a server held the pipe
    for pid in map(int, output.split()):
        assert liveness.alive(pid)
        assert os.getsid(pid) != os.getsid(0)
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")


def test_only_what_this_process_started_is_stopped_by_stop_started(fresh):
    command = ensure_in_a_process(fresh)
    command.communicate(timeout=60)
    servers.ensure(fresh)
    servers.stop_started(fresh)
    assert servers.status(fresh).running
    servers.stop(fresh)
    servers.ensure(fresh)
    servers.stop_started(fresh)
    assert not servers.status(fresh).running


def test_postgres_settings_in_the_callers_environment_do_not_lead_astray(fresh, monkeypatch):
    for name, value in {"PGPORT": "6543", "PGHOST": "nowhere", "PGDATA": "/nonexistent", "PGUSER": "someone"}.items():
        monkeypatch.setenv(name, value)
    servers.ensure(fresh)
    assert query(fresh, "SELECT current_user") == "postgres"


def test_a_half_made_cluster_is_thrown_away(fresh):
    half = fresh / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    servers.ensure(fresh)
    assert query(fresh, "SELECT 1") == 1
    assert not half.exists()


def test_a_cluster_of_another_version_is_refused_by_name(fresh):
    servers.ensure(fresh)
    servers.stop(fresh)
    (fresh / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(servers.EmbeddedServerError, match="made by PostgreSQL 15"):
        servers.ensure(fresh)


def test_a_server_that_cannot_start_says_why(fresh):
    servers.ensure(fresh)
    servers.stop(fresh)
    (fresh / "postgres" / "postgresql.auto.conf").write_text("shared_buffers = 'plenty'\n")
    with pytest.raises(servers.EmbeddedServerError, match="shared_buffers"):
        servers.ensure(fresh)


@pytest.mark.realtime
def test_starting_is_quick(fresh):
    def timed() -> float:
        began = time.monotonic()
        servers.ensure(fresh)
        return time.monotonic() - began

    first_sec = timed()
    attach_sec = timed()
    servers.stop(fresh)
    later_sec = timed()
    assert later_sec < first_sec < 10.0
    assert attach_sec < 0.5
    assert later_sec < 3.0


def test_purge_leaves_nothing_behind(fresh):
    servers.ensure(fresh)
    before = servers.status(fresh)
    servers.purge(fresh)
    assert not fresh.exists()
    assert not liveness.alive(before.postgres_pid)


def test_the_longest_socket_fits(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    for var in (deep, tmp_path / "with space", tmp_path / "v"):
        places = Locations(var=var)
        assert len(os.fsencode(places.postgres_sockets / ".s.PGSQL.5432.lock")) <= 107
        assert len(os.fsencode(places.valkey_socket)) <= 107
        assert " " not in postgres.url(places)


def remove_socket(var: Path) -> None:
    (Locations(var=var).postgres_sockets / ".s.PGSQL.5432").unlink()


def remove_sockets(var: Path) -> None:
    shutil.rmtree(Locations(var=var).sockets)


def remove_pid_files(var: Path) -> None:
    remove_sockets(var)
    (var / "postgres" / "postmaster.pid").unlink()
    (var / "valkey.pid").unlink()


@pytest.mark.parametrize("remove", [remove_socket, remove_sockets, remove_pid_files])
def test_what_a_cleaner_removed_is_noticed_and_repaired(fresh, remove):
    servers.ensure(fresh)
    assert servers.healthy(fresh)
    before = servers.status(fresh)
    remove(fresh)
    assert not servers.healthy(fresh), "the servers run, but nobody can reach them"
    servers.ensure(fresh)
    assert servers.healthy(fresh) and query(fresh, "SELECT 1") == 1
    assert not liveness.alive(before.postgres_pid)
    assert remove is remove_socket or not liveness.alive(before.valkey_pid)


def test_looking_whether_postgres_listens_leaves_no_line_in_its_log(fresh):
    servers.ensure(fresh)
    before = Locations(var=fresh).postgres_log.read_text()
    for _ in range(5):
        assert servers.healthy(fresh)
    assert Locations(var=fresh).postgres_log.read_text() == before
