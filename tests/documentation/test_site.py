"""The documentation as a site: built strictly, with every page in the navigation and a search that needs no network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from absurd_project.reference.pages import PAGES
from tests.documents import ROOT

BUILD = ROOT / "deploy" / "site" / "build.py"
ELSEWHERE = re.compile(r"""<(?:script|link|img)[^>]*(?:src|href)="https?://""")


def build(target: Path, checkout: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "deploy" / "site" / "build.py"), str(target)]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site") / "built"
    done = build(target)
    assert done.returncode == 0, done.stderr
    return target / "html"


def test_every_page_is_built_and_in_the_navigation(site: Path):
    first = (site / "index.html").read_text()
    documents = [path.stem for path in (ROOT / "docs").glob("*.md") if path.stem != "index"]
    assert len(documents) > 20
    for name in (*documents, *(f"reference/{each}" for each in PAGES), "decisions/index"):
        assert (site / f"{name}.html").is_file()
        assert f'href="{name}.html"' in first, name


def test_nothing_is_loaded_from_elsewhere_and_the_search_index_is_a_file(site: Path):
    assert {str(path) for path in site.rglob("*.html") if ELSEWHERE.search(path.read_text())} == set()
    index = (site / "searchindex.js").read_text()
    assert "absurd_lease_sec" in index and "quarantin" in index


def test_a_broken_link_fails_the_build(tmp_path: Path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "deploy" / "site", checkout / "deploy" / "site")
    (checkout / "docs" / "decisions").mkdir(parents=True)
    for name in ("why.md", "backup.md", "decisions/0001-embedded-servers.md"):
        shutil.copy(ROOT / "docs" / name, checkout / "docs" / name)
    (checkout / "docs" / "index.md").write_text(
        "# Documentation\n\n## How to\n\n- [Why](why.md)\n- [Backup](backup.md)\n"
    )
    for name in ("absurd_project", "tasks_app", "workers", "pipeline_app", "templates", "pyproject.toml"):
        (checkout / name).symlink_to(ROOT / name)
    with (checkout / "docs" / "why.md").open("a") as page:
        page.write("\n[lost](no-such-page.md), [lost](backup.md#no-such-heading)\n")
    done = build(tmp_path / "built", checkout)
    assert done.returncode != 0
    assert "toctree" in done.stderr, "the pages of the reference and of the decisions are not on this index"
    assert "no-such-page.md" in done.stderr and "no-such-heading" in done.stderr


def test_a_directory_that_is_no_site_is_left_alone(tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    done = build(tmp_path)
    assert (done.returncode, (tmp_path / "mine").read_text()) == (2, "mine")
