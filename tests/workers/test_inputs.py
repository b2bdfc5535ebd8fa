from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from tasks_app.engine.handler import Context, NoWork
from tasks_app.files import directories
from tests.workers import test_child
from workers.process import inputs
from workers.process.protocol import Failure, Result


class Params(BaseModel):
    paths: list[str]
    write: str = ""
    remove: str = ""
    raises: str = ""


def touches(params: Params, context: Context) -> None:
    data = context.attempt_dir.parent / "data"
    if params.write:
        with (data / params.write).open("a") as stream:
            stream.write("more")
    if params.remove:
        (data / params.remove).unlink()
    if params.raises:
        raise NoWork(params.raises)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    directory = tmp_path / "data" / "tile.ms"
    (directory / "ANTENNA").mkdir(parents=True)
    for name in ("table.dat", "table.lock", "ANTENNA/table.dat"):
        (directory / name).write_text("content")
    return directory


def run(tmp_path: Path, table: Path, **params: str) -> Result | Failure:
    (tmp_path / "attempt").mkdir()
    paths = [str(table), str(tmp_path), str(table / "ANTENNA"), "/not/there", "no path", "/with\0nothing", "/" * 9999]
    reply, _ = test_child.run(tmp_path / "attempt", "touches", module=__name__, paths=paths, **params)
    return reply


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({"write": "tile.ms/ANTENNA/table.dat"}, "ANTENNA/table.dat went from 7 to 11 bytes", id="written"),
        pytest.param({"write": "tile.ms/table.f25"}, "table.f25 is new", id="new"),
        pytest.param({"remove": "tile.ms/table.dat"}, "table.dat is gone", id="gone"),
        pytest.param(
            {"write": "tile.ms/table.dat", "raises": "nothing in the field"}, "nothing in the field", id="raised"
        ),
    ],
)
def test_an_attempt_whose_input_changed_has_failed_whatever_the_handler_says(tmp_path, table, params, expected):
    reply = run(tmp_path, table, **params)
    assert isinstance(reply, Failure)
    assert (reply.failure_class, reply.final, expected in reply.message) == ("error", True, True)
    assert str(table) in reply.message


@pytest.mark.parametrize(
    "name", [pytest.param("tile.ms/table.lock", id="lock"), pytest.param("other", id="not an input")]
)
def test_casas_lock_file_and_what_is_no_input_may_change(tmp_path, table, name):
    assert isinstance(run(tmp_path, table, write=name), Result)


def test_an_input_of_too_many_files_is_left_out_and_reported(tmp_path, table, monkeypatch, capfd):
    monkeypatch.setattr(inputs, "FILES_MOST", 1)
    assert isinstance(run(tmp_path, table, write="tile.ms/table.dat"), Result)
    assert f"input {table} has more than 1 files" in capfd.readouterr().err


def test_of_many_changes_the_first_are_named(tmp_path):
    changed = [f"/data/{number} is gone" for number in range(99)]
    assert "/data/4 is gone; and 94 more" in inputs.refuse(Result(result={}), changed).message


def test_a_same_sized_overwrite_is_seen(tmp_path, table):
    given = inputs.find({"ms_path": str(table)}, tmp_path / "attempt")
    os.utime(table / "table.dat", ns=(1, 1))
    assert given.changed() == [f"{table / 'table.dat'} was written to"]


def test_inputs_that_went_away_with_their_mount_were_not_changed(tmp_path):
    root = tmp_path / "stage"
    root.mkdir()
    directories.mark(str(root))
    (root / "tile.ms").write_text("12")
    found = inputs.find({"ms_path": str(root / "tile.ms")}, tmp_path / "attempt")
    assert inputs.absent(found.paths, [str(root)]) is None
    root.rename(tmp_path / "aside")
    root.mkdir()  # the empty mount point
    assert found.changed()
    failure = inputs.absent(found.paths, [str(root)])
    assert failure is not None and (failure.failure_class, failure.final) == ("unavailable", False)
    assert f"data root {root} is not mounted on this host" in failure.message
