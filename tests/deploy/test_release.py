"""A release: tried without a trace, made with commit, tag and wheel, refused where it cannot be one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks_app.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
NEXT = "99.0.0"
AUTHOR = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
}


def git(checkout: Path, *arguments: str) -> str:
    argv, own = ["git", *arguments], os.environ | AUTHOR
    return subprocess.run(argv, cwd=checkout, env=own, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with one commit: the tracked files as they are now."""
    directory = tmp_path_factory.mktemp("original") / "absurd"
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/img/")):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", "All")
    return directory


@pytest.fixture
def checkout(original: Path, tmp_path: Path) -> Path:
    """Return a clone that a test may change."""
    git(tmp_path, "clone", "--quiet", "--shared", str(original), "absurd")
    return tmp_path / "absurd"


def release(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(checkout / "deploy" / "release.py"), *arguments]
    return subprocess.run(argv, cwd=checkout, env=os.environ | AUTHOR, capture_output=True, text=True, timeout=250)


def test_a_dry_run_builds_the_packages_and_changes_nothing(checkout):
    before = git(checkout, "rev-parse", "HEAD")
    done = release(checkout, NEXT)
    assert done.returncode == 0, done.stderr
    assert f"absurd_dsa110-{NEXT}-py3-none-any.whl" in done.stdout
    assert f"Release {NEXT}" in done.stdout
    assert git(checkout, "rev-parse", "HEAD") == before
    assert git(checkout, "status", "--porcelain") + git(checkout, "tag") == ""
    assert not (checkout / "dist").exists()


def test_a_release_has_version_changelog_tag_and_wheel_once(checkout):
    done = release(checkout, NEXT, "--really")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"git push origin HEAD v{NEXT}\n")
    assert git(checkout, "tag").split() == [f"v{NEXT}"]
    assert f'VERSION = "{NEXT}"' in git(checkout, "show", f"v{NEXT}:tasks_app/version.py")
    assert f"## Unreleased\n\n## {NEXT} - 20" in git(checkout, "show", f"v{NEXT}:CHANGELOG.md")
    assert {path.suffix for path in (checkout / "dist").iterdir() if path.name != ".gitignore"} == {".whl", ".gz"}
    assert git(checkout, "status", "--porcelain") == ""
    again = release(checkout, NEXT, "--really")
    assert (again.returncode, again.stderr) == (
        1,
        f"release: version {NEXT} has been released: there is a tag v{NEXT}\n",
    )
    assert "has nothing under 'Unreleased'" in release(checkout, "99.0.1").stderr


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.0", "the version must be three numbers, such as 0.2.0 (got 1.0)"),
        ("0.0.1", f"older than the present one, {VERSION}"),
    ],
)
def test_a_version_that_cannot_follow_is_refused(original, version, words):
    done = release(original, version)
    assert done.returncode == 1
    assert words in done.stderr


def test_what_is_not_committed_is_refused(checkout):
    (checkout / "README.md").write_text("other\n")
    done = release(checkout, NEXT, "--really")
    assert (done.returncode, git(checkout, "tag")) == (1, "")
    assert "README.md" in done.stderr
