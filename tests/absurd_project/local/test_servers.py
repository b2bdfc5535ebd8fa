"""A stack looks after the private servers too."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from absurd_project.local import servers
from absurd_project.local.state import NotAStateDirectory, check_removable, purge, take_down
from absurd_project.local.supervisor import Process, Stack


@pytest.mark.chaos
def test_a_killed_private_server_is_brought_back(private_servers):
    before = servers.status(private_servers)
    sleeper = Process(name="one", argv=(sys.executable, "-c", "import time; time.sleep(300)"))
    with Stack([sleeper], var=private_servers) as stack:
        os.kill(before.postgres_pid, signal.SIGKILL)
        os.kill(before.valkey_pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            stack.poll()
            now = servers.status(private_servers)
            if servers.healthy(private_servers) and now.postgres_pid != before.postgres_pid:
                break
            time.sleep(0.05)
        assert servers.healthy(private_servers)
        assert now.valkey_pid != before.valkey_pid


def test_taking_down_says_what_it_stopped_and_does_nothing_the_second_time(private_servers):
    before = servers.status(private_servers)
    assert take_down(private_servers) == [
        f"stopped PostgreSQL (process {before.postgres_pid})",
        f"stopped Valkey (process {before.valkey_pid})",
    ]
    assert take_down(private_servers) == []


def test_purging_refuses_a_directory_that_is_none_of_ours(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(NotAStateDirectory):
        purge(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_purging_refuses_the_checkout_even_when_it_holds_our_files(tmp_path, monkeypatch):
    (tmp_path / "secret_key").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NotAStateDirectory):
        check_removable(tmp_path)
