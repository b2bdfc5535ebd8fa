"""The command line itself: what it does before a command begins."""

from __future__ import annotations

import os

from absurd_project import command_line
from absurd_project.local.locations import state_directory


def test_a_relative_state_directory_is_that_of_the_caller(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABSURD_VAR", "mine")
    command_line.keep_state_directory()
    monkeypatch.chdir("/")
    assert os.environ["ABSURD_VAR"] == str(tmp_path / "mine")
    assert state_directory() == tmp_path / "mine"
