"""The examples of the documentation are run as they stand there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT, blocks

CONFTEST = """
from tests.conftest import *
from django.conf import settings
settings.ABSURD_DJANGO_TASK_MODULES = ("letters",)
"""


def run_tests(directory: Path, files: dict[str, str]) -> str:
    """Write the files and run pytest on them in a process of its own, with this project's fixtures and settings."""
    for name, code in files.items():
        (directory / name).write_text(code)
    argv = [sys.executable, "-m", "pytest", str(directory), "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    options = ["-c", str(ROOT / "pyproject.toml"), "-o", f"pythonpath={ROOT} {directory}"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run([*argv, *options], cwd=ROOT, env=alone, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_of_the_pages_pass(tmp_path):
    files = blocks("testing-tasks.md") | blocks("django-tasks.md")
    del files["settings.py"], files["tasks.py"]  # of a site: see tests/packaging
    assert len(files) == 4
    assert "5 passed" in run_tests(tmp_path, files | {"conftest.py": CONFTEST})
