"""The map in docs/contributing.md is the one that the imports give, names files that exist, and has no cycle."""

from __future__ import annotations

import re

from tests.architecture import map as layers


def test_the_documented_picture_is_that_of_the_imports():
    assert layers.documented() == layers.picture(), "run python -m tests.architecture.map --write"


def test_no_packages_import_each_other():
    assert "<->" not in layers.picture()


def test_each_package_says_what_it_is_for():
    lines = [line for line in layers.picture().splitlines() if line.startswith("  ") and not line.startswith("  --")]
    assert [line for line in lines if len(line.split()) < 2] == []


def test_files_named_in_the_document_exist():
    named = re.findall(
        r"`((?:tasks_app|workers|pipeline_app|absurd_project|tests)/[\w/]+\.(?:py|sql|toml))`",
        layers.DOCUMENT.read_text(),
    )
    assert named
    assert [name for name in named if not (layers.ROOT / name).exists()] == []
