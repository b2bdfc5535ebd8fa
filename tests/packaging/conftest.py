"""The wheel of this checkout, and a fresh environment to install it into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.documents import ROOT

PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
SMALL_PACKAGE = "cronsim"
INSTALL_SEC = 900


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built without a network."""
    directory = tmp_path_factory.mktemp("wheel")
    argv = [
        sys.executable,
        *PIP,
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(directory),
        str(ROOT),
    ]
    subprocess.run(argv, check=True, timeout=INSTALL_SEC)
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where no package index answers; with it, an installation that fails is a fault."""
    directory = tmp_path_factory.mktemp("download")
    argv = [
        sys.executable,
        *PIP,
        "download",
        "--quiet",
        "--no-deps",
        "--retries",
        "1",
        "-d",
        str(directory),
        SMALL_PACKAGE,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_SEC)
    if done.returncode:
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")


class Fresh:
    """A virtual environment with nothing of this checkout but its wheel."""

    def __init__(self, directory: Path, wheel: Path) -> None:
        self.directory, self._wheel = directory, wheel
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, timeout=INSTALL_SEC)

    @property
    def bin(self) -> Path:
        """Where its commands are."""
        return self.directory / "bin"

    def install(self, extra: str = "") -> None:
        """Install the wheel, with an extra."""
        self._python(*PIP, "install", "--quiet", f"{self._wheel}[{extra}]" if extra else str(self._wheel))

    def resolve(self, extra: str) -> dict[str, str]:
        """Return the versions that pip would install of everything, with an extra, whatever is there already."""
        wanted = f"{self._wheel}[{extra}]"
        options = ("--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:", "--report", "-")
        report = json.loads(self._python(*PIP, "install", *options, wanted))
        found = [each["metadata"] for each in report["install"]]
        return {canonicalize_name(each["name"]): each["version"] for each in found}

    def packages(self) -> set[str]:
        """Return the names of the installed packages."""
        listed = self._python(*PIP, "list", "--format", "freeze")
        return {line.partition("==")[0].lower() for line in listed.splitlines()}

    def _python(self, *arguments: str) -> str:
        argv = [str(self.bin / "python"), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_SEC)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def environment(self, home: Path) -> dict[str, str]:
        """Return what its commands are run with: its own `python`, and a home of their own."""
        kept = {
            n: v for n, v in os.environ.items() if not n.startswith(("ABSURD_", "PYTEST_", "PYTHON", "DJANGO_", "XDG_"))
        }
        return kept | {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(home)}


@pytest.fixture(scope="module")
def light(index: None, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Return an environment with the wheel and no extra."""
    fresh = Fresh(tmp_path_factory.mktemp("fresh") / "venv", wheel)
    fresh.install()
    return fresh


@pytest.fixture(scope="module")
def shell() -> Callable[..., str]:
    """Return a function that runs a script, which must succeed, and returns its output."""

    def run(script: str, directory: Path, environment: dict[str, str]) -> str:
        done = subprocess.run(
            ["bash", "-ec", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=INSTALL_SEC
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
