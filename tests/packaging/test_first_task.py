"""A task package outside the checkout works in web, worker and child: the tutorial's commands, as they stand there."""

from __future__ import annotations

import logging
import os
import shlex
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from tasks_app import apps
from tasks_app.engine import registry
from tests.documents import ROOT, blocks
from tests.packaging.tutorial import PAGE, Reader


@pytest.fixture
def reader(tmp_path):
    """Yield a reader for whom `absurd` is the checkout's manage.py."""
    command = tmp_path / "bin" / "absurd"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(ROOT / "manage.py")])} "$@"\n')
    command.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ABSURD_", "PYTEST_", "PYTHON"))}
    reader = Reader(tmp_path / "mine", f"{command.parent}:{os.environ['PATH']}", own)
    try:
        yield reader
    finally:
        reader.end()


def test_the_commands_of_the_tutorial_work(reader):
    assert "console" in reader.succeed("start")
    assert "completed" in reader.succeed("spawn")
    refused = reader.run("refused")
    assert refused.returncode == 2
    assert "params.values: List should have at least 1 item after validation, not 0" in refused.stdout
    assert '"task_name":"mean"' in reader.succeed("http").replace('": "', '":"')
    reader.succeed("stop")


def test_the_module_of_the_tutorial_has_fifteen_lines():
    assert len([line for line in blocks(PAGE)["means.py"].splitlines() if line.strip()]) <= 15


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a distribution with one module as an entry point, for this process alone."""
    names = set(registry.names())
    monkeypatch.syspath_prepend(tmp_path)

    def install(module: str, code: str) -> None:
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{apps.GROUP}]\n{module} = {module}\n")

    yield install
    for name in set(registry.names()) - names:
        registry._specs.pop(name)
    for each in tmp_path.glob("*.py"):
        sys.modules.pop(each.stem, None)


def test_an_entry_point_registers_its_task_name(installed):
    installed("means", blocks(PAGE)["means.py"])
    apps.load_task_packages()
    assert registry.get("mean").handler == "means:run"
    assert "mean" in registry.runnable_names()


def test_an_entry_point_that_fails_is_logged_and_stops_no_other(installed, caplog):
    installed("broken_means", "import no_such_module")
    installed("means", blocks(PAGE)["means.py"])
    with caplog.at_level(logging.ERROR):
        apps.load_task_packages()
    assert "the task names of package broken_means (broken_means) cannot be used" in caplog.text
    assert registry.find("mean") is not None


def test_a_named_module_that_fails_is_an_error(settings):
    settings.ABSURD_TASK_MODULES = ("no_such_module",)
    with pytest.raises(ImproperlyConfigured, match="ABSURD_TASK_MODULES='no_such_module' cannot be imported"):
        apps.load_task_packages()


def test_a_host_without_a_required_module_does_not_run_the_task_name(installed):
    code = blocks(PAGE)["means.py"].replace("params_model=Params", 'params_model=Params, requires=("no_such_module",)')
    installed("means", code)
    apps.load_task_packages()
    assert "mean" in registry.names()
    assert "mean" not in registry.runnable_names()
