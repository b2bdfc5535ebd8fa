"""The examples of the documentation are run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r'^```python title="(?P<name>[\w.]+)"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)
CONFTEST = """
from tests.conftest import *
from django.conf import settings
settings.ABSURD_DJANGO_TASK_MODULES = ("letters",)
"""


def blocks(page: str) -> dict[str, str]:
    """Return the titled code blocks of a page by their titles."""
    return {found["name"]: found["code"] for found in BLOCK.finditer((ROOT / "docs" / page).read_text())}


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
    pages = {page: blocks(page) for page in ("testing-tasks.md", "django-tasks.md")}
    assert [len(files) for files in pages.values()] == [2, 2]
    files = {name: code for page in pages.values() for name, code in page.items()}
    assert "5 passed" in run_tests(tmp_path, files | {"conftest.py": CONFTEST})
