"""Failures of the host are distinguished from failures of the task."""

from __future__ import annotations

import errno
import os

import pytest

from tasks_app.files import directories, host_faults


def os_error(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


def caused(error: Exception) -> RuntimeError:
    try:
        raise RuntimeError("the table cannot be read") from error
    except RuntimeError as chained:
        return chained


@pytest.mark.parametrize(
    ("error", "of_the_host"),
    [
        (os_error(errno.EIO), True),
        (os_error(errno.ESTALE), True),
        (os_error(errno.ENOSPC), True),
        (os_error(errno.EROFS), True),
        (os_error(errno.ENOTCONN, "/data/tile"), True),
        (os_error(errno.ENOTCONN), False),
        (os_error(errno.ETIMEDOUT), False),
        (os_error(errno.EACCES, "/data/tile"), False),
        (os_error(errno.ENOENT, "/data/tile"), False),
        (RuntimeError("FilebufIO::readBlock: Stale file handle"), True),
        (RuntimeError("HDF5: errno = 5, error message = 'Input/output error'"), True),
        (caused(os_error(errno.EIO)), True),
        (ValueError("a number is too large"), False),
    ],
)
def test_errors_of_the_host_are_told_from_others(error, of_the_host):
    assert bool(host_faults.reason(error, {}, [])) is of_the_host


def test_what_is_missing_below_a_root_without_its_marker_is_the_hosts_fault(tmp_path):
    path = f"{tmp_path}/tiles/a.ms"
    missing = f"data root {tmp_path} is not mounted on this host: it has no file {directories.MARKER}"
    by_error = os_error(errno.ENOENT, path)
    for error, params in (
        (by_error, {}),
        (ValueError("no tile"), {"paths": [path]}),
        (KeyError("a"), {"a": {"b": path}}),
    ):
        assert host_faults.reason(error, params, [tmp_path]) == missing
    assert host_faults.reason(by_error, {}, [tmp_path / "tile"]) == ""  # a root is a directory, no beginning of a name
    directories.mark(str(tmp_path))
    assert host_faults.reason(by_error, {"path": path}, [tmp_path]) == ""


def test_an_error_that_cannot_be_shown_as_text_is_no_trouble():
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    assert host_faults.reason(Mute(), {}, []) == ""


def test_a_path_below_a_data_root_of_another_host_is_that_hosts(tmp_path):
    here, far = tmp_path / "here", tmp_path / "far"
    for root in (here, far):
        root.mkdir()
    directories.mark(str(here))
    params = {"path": str(far / "catalog.csv")}
    said = host_faults.reason(ValueError("no such file"), params, [here], other_roots=[str(far)])
    assert said == f"data root {far} belongs to another host: {far}/catalog.csv is not on this one"
    assert host_faults.reason(ValueError("bad"), {"path": str(here / "x")}, [here], other_roots=[str(far)]) == ""
    (far / "catalog.csv").touch()  # a path that is here is not missing, whatever its root
    assert host_faults.reason(ValueError("bad"), params, [here], other_roots=[str(far)]) == ""
