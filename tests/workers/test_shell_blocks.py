"""The titled shell blocks of each page, run in order in one shell, beside a server and a worker."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from absurd_project.reference.commands import names
from tests.daphne_server import serving
from tests.documents import ROOT, SHELL, blocks_of, pages
from tests.workers.live import LiveWorkers

pytestmark = pytest.mark.django_db(transaction=True)
ELSEWHERE = {"first-task.md", "django-tasks.md"}
"""Their commands are run by tests/packaging."""
KEY = "a key of the tests of the documentation"
PAGES = [path for path in pages() if path.name not in ELSEWHERE]
LONGEST_SEC = 120
STREAM_SEC = 4
PRELUDE = """
set -euo pipefail
curl() {
    case "$*" in
        *-N*) command curl --fail-with-body -sS --max-time %(stream)d "$@" || [ $? = 28 ] ;;
        *) command curl --fail-with-body -sS "$@" ;;
    esac
}
%(commands)s
"""


def script_of(path: Path, port: int) -> str:
    """Return the blocks of a page with the port that is served, and each command callable by its bare name."""
    code = "".join(block.code for block in blocks_of(path) if block.language in SHELL and block.title)
    functions = "\n".join(f'{name}() {{ .venv/bin/python manage.py {name} "$@"; }}' for name in names())
    prelude = PRELUDE % {"stream": STREAM_SEC, "commands": functions}
    return prelude + code.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("localhost:8000", f"localhost:{port}")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a directory that looks like a checkout whose state directory is the test's."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    for name in (".venv", "manage.py"):
        (directory / name).symlink_to(ROOT / name)
    (directory / "var").symlink_to(tmp_path / "var")
    (tmp_path / "var" / "api_key").write_text(KEY)
    return directory


def test_the_shell_blocks_of_every_page_run(live_environment: dict[str, str], checkout: Path, workers: LiveWorkers):
    environment = live_environment | {"ABSURD_API_KEY": KEY}
    workers.start()
    failed = {}
    with serving(environment) as port:
        for path in PAGES:
            if any(block.title and block.language in SHELL for block in blocks_of(path)):
                done = subprocess.run(
                    ["bash", "-c", script_of(path, port)], cwd=checkout, env=environment, stdin=subprocess.DEVNULL,
                    capture_output=True, text=True, timeout=LONGEST_SEC,
                )  # fmt: skip
                if done.returncode:
                    failed[path.name] = (done.returncode, done.stdout[-800:], done.stderr[-800:])
    assert failed == {}
