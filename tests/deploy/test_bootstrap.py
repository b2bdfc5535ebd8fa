"""The preparation of `.venv`: the machine it refuses, and what each mode installs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
RUN, DEV = "requirements.lock", "requirements-dev.lock"
PINNED = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9._-]*)(?:\[\w+\])?==(?P<version>\S+)(?P<rest>.*(?:\n    .*)*)", re.MULTILINE
)


def pinned(lock: str) -> dict[str, list[tuple[str, str]]]:
    """Return the versions of a lock, each with what follows it: marker and hashes."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in PINNED.finditer((ROOT / lock).read_text()):
        found.setdefault(canonicalize_name(line["name"]), []).append((line["version"], line["rest"]))
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout whose locks have no packages."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "bootstrap.py", tmp_path / "deploy")
    for lock in (RUN, DEV):
        (tmp_path / lock).write_text(f"# {lock}\n")
    return tmp_path


def prepare(checkout: Path, *arguments: str) -> str:
    """Run the preparation and return what it wrote."""
    argv = [sys.executable, str(checkout / "deploy" / "bootstrap.py"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("setarch") is None, reason="setarch is missing: apt-get install util-linux")
def test_another_machine_than_x86_64_is_refused_in_one_line(checkout):
    argv = ["setarch", "i686", sys.executable, str(checkout / "deploy" / "bootstrap.py")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "make: Linux on x86-64 is needed, this is Linux on i686: CASA has no wheels for it\n"
    assert not (checkout / ".venv").exists()


def test_tools_of_developers_are_installed_when_asked_for_and_nothing_without_a_hash(checkout):
    assert "Ready" in prepare(checkout)
    assert prepare(checkout) == ""
    assert "Ready" in prepare(checkout, "dev")
    assert prepare(checkout, "dev") == prepare(checkout) == ""
    (checkout / DEV).write_text("# another\n")
    assert prepare(checkout) == ""
    assert "Ready" in prepare(checkout, "dev")
    (checkout / RUN).write_text("six==1.17.0\n")  # without a hash
    argv = [sys.executable, str(checkout / "deploy" / "bootstrap.py")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "hash" in done.stderr.lower()


@pytest.mark.parametrize("lock", [RUN, DEV])
def test_every_locked_package_has_a_hash(lock):
    found = pinned(lock)
    assert len(found) > 50
    assert [name for name, versions in found.items() if not all("--hash=sha256:" in rest for _, rest in versions)] == []


def test_the_locks_are_those_of_the_declared_dependencies():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, extras = declared["project"], declared["project"]["optional-dependencies"]
    run = [*project["dependencies"], *extras["worker"], *extras["server"], *extras["pipeline"]]
    for lock, texts in ((RUN, run), (DEV, declared["dependency-groups"]["dev"])):
        found = pinned(lock)
        for wanted in map(Requirement, texts):
            versions = [version for version, _ in found.get(canonicalize_name(wanted.name), [])]
            if wanted.name != project["name"]:
                assert any(map(wanted.specifier.contains, versions)), f"{lock} has no {wanted}: make lock"


def test_running_installs_no_tools_of_developers():
    tools = {
        "pytest",
        "ruff",
        "mypy",
        "playwright",
        "hypothesis",
        "schemathesis",
        "pip-audit",
        "pre-commit",
        "coverage",
    }
    assert tools & pinned(RUN).keys() == set()
    assert tools <= pinned(DEV).keys()


def test_both_locks_have_the_same_version_of_what_is_in_both():
    run, dev = pinned(RUN), pinned(DEV)
    both = run.keys() & dev.keys()
    differing = [n for n in both if {v for v, _ in dev[n]} - {v for v, _ in run[n]}]
    assert differing == []
