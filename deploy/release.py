"""Make a release: version, changelog, commit, tag, source package and wheel. A dry run in a clone unless --really.

    .venv/bin/python deploy/release.py 0.2.0 [--really]

Nothing is pushed; the last line printed is the command that would.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VERSION_FILE, CHANGELOG = "tasks_app/version.py", "CHANGELOG.md"
VERSION_LINE = re.compile(r'^VERSION = "(?P<version>[^"]+)"$', re.MULTILINE)
UNRELEASED = re.compile(r"^## Unreleased\n(?P<entries>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
NUMBERS = re.compile(r"\d+\.\d+\.\d+")


class NotReleasable(Exception):
    """The checkout or the version is not fit for a release; the message says why."""


def main() -> int:
    """Make the release, or try it in a clone; return the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("version", help="the new version, such as 0.2.0")
    options.add_argument("--really", action="store_true", help="change this checkout")
    chosen = options.parse_args()
    try:
        check(chosen.version)
        if chosen.really:
            release(CHECKOUT, chosen.version)
            print(f"git push origin HEAD v{chosen.version}")
            return 0
        with tempfile.TemporaryDirectory(prefix="absurd-release-") as directory:
            clone = Path(directory) / "absurd"
            _run("git", "clone", "--quiet", "--shared", str(CHECKOUT), str(clone), cwd=CHECKOUT)
            release(clone, chosen.version)
            print(_run("git", "show", "--stat", "--format=%s", f"v{chosen.version}^{{commit}}", cwd=clone).rstrip())
        print("That was a dry run in a clone; nothing was changed here. To make the release, repeat it with --really.")
    except NotReleasable as reason:
        print(f"release: {reason}", file=sys.stderr)
        return 1
    return 0


def check(version: str) -> None:
    """Raise NotReleasable unless the version follows the present one and the checkout is as committed."""
    present = _match(VERSION_LINE, CHECKOUT / VERSION_FILE)["version"]
    if not NUMBERS.fullmatch(version):
        raise NotReleasable(f"the version must be three numbers, such as 0.2.0 (got {version})")
    if _numbers(version) < _numbers(present):
        raise NotReleasable(f"version {version} is older than the present one, {present}")
    if _run("git", "tag", "--list", f"v{version}", cwd=CHECKOUT).strip():
        raise NotReleasable(f"version {version} has been released: there is a tag v{version}")
    if changed := _run("git", "status", "--porcelain", cwd=CHECKOUT).strip():
        raise NotReleasable(f"commit or remove what has changed first:\n{changed}")
    if "- " not in _match(UNRELEASED, CHECKOUT / CHANGELOG)["entries"]:
        raise NotReleasable(f"{CHANGELOG} has nothing under 'Unreleased'")


def release(checkout: Path, version: str) -> None:
    """Write the version, close the changelog, commit, tag, and build the packages into `dist/`."""
    path, today = checkout / VERSION_FILE, datetime.datetime.now(datetime.UTC).date()
    path.write_text(VERSION_LINE.sub(f'VERSION = "{version}"', path.read_text()))
    changelog = checkout / CHANGELOG
    changelog.write_text(
        changelog.read_text().replace("## Unreleased\n", f"## Unreleased\n\n## {version} - {today}\n", 1)
    )
    _run("git", "commit", "--quiet", "--message", f"Release {version}", VERSION_FILE, CHANGELOG, cwd=checkout)
    _run("git", "tag", "--annotate", f"v{version}", "--message", f"Release {version}", cwd=checkout)
    _run(sys.executable, "-m", "hatchling", "build", "-d", "dist", cwd=checkout)
    for path in sorted((checkout / "dist").glob(f"*-{version}[-.]*")):
        print(f"built {path.name}, {path.stat().st_size / 1e6:.1f} MB")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _match(pattern: re.Pattern[str], path: Path) -> re.Match[str]:
    found = pattern.search(path.read_text())
    if found is None:
        raise NotReleasable(f"{path} has no line {pattern.pattern}")
    return found


def _run(*argv: str, cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReleasable(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
