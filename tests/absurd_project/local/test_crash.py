"""Servers killed with -9, zombies that nobody reaps, and pid files that name strangers."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from absurd_project.local import liveness, servers, valkey
from absurd_project.local.locations import Locations

PR_SET_CHILD_SUBREAPER = 36
RECOVERY_SEC = 5.0

pytestmark = pytest.mark.chaos


@pytest.fixture
def nobody_reaps() -> Iterator[None]:
    """Make this process the heir of the servers, and let it neglect its duty until the test is over."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    inherited = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for pid in map(int, inherited):
        if liveness.state(pid) == "Z":
            os.waitpid(pid, 0)


def bystander() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])


def rows(var: Path) -> int:
    with psycopg.connect(servers.database_url(var)) as connection:
        return connection.execute("SELECT count(*) FROM ledger").fetchone()[0]


def make_ledger(var: Path) -> None:
    with psycopg.connect(servers.database_url(var)) as connection:
        connection.execute("CREATE TABLE ledger AS SELECT generate_series(1, 1000) AS n")


def test_a_killed_postmaster_that_stays_a_zombie_is_replaced_with_its_data(nobody_reaps, private_servers):
    servers.stop(private_servers)  # the fixture's pair may have been adopted by another process
    servers.ensure(private_servers)
    make_ledger(private_servers)
    killed = servers.status(private_servers).postgres_pid
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    servers.ensure(private_servers)
    assert time.monotonic() - began < RECOVERY_SEC
    assert liveness.state(killed) == "Z"
    assert servers.status(private_servers).postgres_pid != killed
    assert rows(private_servers) == 1000


def test_back_ends_that_outlive_a_killed_postmaster_do_not_hold_up_the_next(private_servers):
    make_ledger(private_servers)
    with psycopg.connect(servers.database_url(private_servers)) as busy:
        back_end = busy.info.backend_pid
        os.kill(back_end, signal.SIGSTOP)  # cannot notice that its postmaster is gone
        os.kill(servers.status(private_servers).postgres_pid, signal.SIGKILL)
        began = time.monotonic()
        servers.ensure(private_servers)
        assert time.monotonic() - began < RECOVERY_SEC
    assert not liveness.alive(back_end)
    assert rows(private_servers) == 1000


def test_a_killed_valkey_is_replaced(private_servers):
    killed = servers.status(private_servers).valkey_pid
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    servers.ensure(private_servers)
    assert time.monotonic() - began < RECOVERY_SEC
    assert valkey.answers(Locations(var=private_servers))


def test_a_valkey_that_hangs_is_replaced(private_servers):
    hung = servers.status(private_servers).valkey_pid
    os.kill(hung, signal.SIGSTOP)
    servers.ensure(private_servers)
    assert valkey.answers(Locations(var=private_servers))
    assert not liveness.alive(hung)


def test_stale_pid_files_that_name_a_stranger_are_neither_believed_nor_used_to_kill(private_servers):
    places = Locations(var=private_servers)
    servers.stop(private_servers)
    stranger = bystander()
    try:
        postmaster_pid = f"{stranger.pid}\n{places.postgres_data}\n1\n5432\n{places.postgres_sockets}\n\n 1 1\nready\n"
        (places.postgres_data / "postmaster.pid").write_text(postmaster_pid)
        (places.postgres_sockets / ".s.PGSQL.5432.lock").write_text(postmaster_pid)
        places.valkey_pid.write_text(f"{stranger.pid}\n")
        assert not servers.status(private_servers).running
        servers.stop(private_servers)
        assert stranger.poll() is None
        servers.ensure(private_servers)
        running = servers.status(private_servers)
        assert stranger.pid not in (running.postgres_pid, running.valkey_pid)
        assert running.postgres_pid and running.valkey_pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_another_clusters_postmaster_is_a_stranger_too(private_servers, fresh):
    servers.ensure(fresh)
    servers.stop(fresh)
    other = servers.status(private_servers).postgres_pid
    places = Locations(var=fresh)
    (places.postgres_data / "postmaster.pid").write_text(f"{other}\n{places.postgres_data}\n1\n5432\n\n\n\nready\n")
    servers.stop(fresh)
    assert liveness.alive(other)
    servers.ensure(fresh)
    assert servers.status(fresh).postgres_pid != other


def test_a_signal_is_withheld_from_a_process_that_is_no_longer_the_one_meant():
    stranger = bystander()
    try:
        assert not liveness.send(stranger.pid, signal.SIGKILL, lambda _: False)
        assert stranger.poll() is None
        assert liveness.send(stranger.pid, signal.SIGKILL, lambda pid: pid == stranger.pid)
        assert liveness.wait_until_gone(stranger.pid, 5.0)
    finally:
        stranger.kill()
        stranger.wait()
