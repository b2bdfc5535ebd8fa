"""Where an attempt works and logs, and how its products come to be where others look for them.

``<root>/.attempts/<task>-<attempt>-<token>/`` holds ``products/``, ``scratch/`` and the note ``attempt.json``. On
completion ``products/`` is renamed to ``<root>/<task name>/<name>.<token>/``, a path that no other attempt can have.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from tasks_app import cleaning
from tasks_app.engine.claim import Claim
from tasks_app.files.directories import make_private
from tasks_app.models.querysets import short_id

ATTEMPTS = ".attempts"
NOTE = "attempt.json"
TAIL_LINES = 200
TAIL_BYTES = 64 * 1024
_PUBLISHED = re.compile(r".+\.[0-9a-f]{8}")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}")


class NoPublishRoot(Exception):
    """None of the data roots can be written to."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """The directories of one attempt."""

    attempt_dir: Path
    published_dir: Path

    @property
    def products_dir(self) -> Path:
        return self.attempt_dir / "products"

    @property
    def scratch_dir(self) -> Path:
        """Where the child works; its guardian removes it."""
        return self.attempt_dir / "scratch"


def choose_root() -> Path:
    """Return the first data root that can be written to; only one inside the state directory is made if missing.

    Raises NoPublishRoot.
    """
    roots: Sequence[Path] = settings.ABSURD_DATA_ROOTS
    for root in roots:
        if root.is_relative_to(settings.ABSURD_VAR):
            root.mkdir(parents=True, exist_ok=True)
        if root.is_dir() and os.access(root, os.W_OK | os.X_OK):
            return root
    raise NoPublishRoot(f"none of ABSURD_DATA_ROOTS can be written to: {', '.join(map(str, roots))}")


def places_of(claim: Claim, root: Path) -> Places:
    """Return the places of an attempt; makes nothing."""
    task8, token8 = short_id(claim.task_id), str(claim.claim_token)[:8]
    name = claim.params.get("name")
    stem = name if isinstance(name, str) and _SAFE_NAME.fullmatch(name) else task8
    return Places(
        attempt_dir=root / ATTEMPTS / f"{task8}-{claim.attempt}-{token8}",
        published_dir=root / claim.task_name / f"{stem}.{token8}",
    )


def prepare(claim: Claim, places: Places) -> None:
    """Make the attempt's directories and the note by which a later sweep knows whose they are."""
    places.products_dir.mkdir(parents=True, exist_ok=True)
    places.scratch_dir.mkdir(exist_ok=True)
    note = {
        "task_id": str(claim.task_id),
        "claim_token": str(claim.claim_token),
        "published_dir": str(places.published_dir),
    }
    (places.attempt_dir / NOTE).write_text(json.dumps(note))


def has_outputs(places: Places) -> bool:
    """Return whether there are outputs that are not published."""
    return places.products_dir.is_dir() and any(places.products_dir.iterdir())


def publish(places: Places) -> None:
    """Rename the outputs to their published place, durably; nothing happens without outputs, or a second time."""
    if not has_outputs(places):
        return
    parent = places.published_dir.parent
    is_new = not parent.is_dir()
    parent.mkdir(parents=True, exist_ok=True)
    places.products_dir.rename(places.published_dir)
    for directory in (parent, places.attempt_dir, *([parent.parent] if is_new else [])):
        _fsync_directory(directory)


def withdraw(places: Places) -> None:
    """Remove what an attempt published whose completion was refused."""
    shutil.rmtree(places.published_dir, ignore_errors=True)


def tidy(places: Places, *, keep_products: bool) -> None:
    """Remove the attempt directory; outputs of a failed attempt stay for inspection, until the sweep finds them old."""
    if keep_products and has_outputs(places):
        return
    shutil.rmtree(places.attempt_dir, ignore_errors=True)


def log_path_of(claim: Claim) -> Path:
    """Return where the attempt's log is kept: ``<var>/log/attempts/<task id>/<attempt>.log``."""
    return Path(settings.ABSURD_VAR) / "log" / "attempts" / str(claim.task_id) / f"{claim.attempt}.log"


def is_log(path: Path) -> bool:
    """Return whether a resolved path is that of an attempt's log."""
    return path.parent.parent == (Path(settings.ABSURD_VAR) / "log" / "attempts").resolve() and path.suffix == ".log"


def is_published(path: Path) -> bool:
    """Return whether a resolved path is below the published place of an attempt, in one of the data roots."""
    for root in map(Path.resolve, settings.ABSURD_DATA_ROOTS):
        parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
        if len(parts) > 2 and not parts[0].startswith(".") and _PUBLISHED.fullmatch(parts[1]):
            return True
    return False


def open_log(path: Path) -> int:
    """Make the log and return a descriptor that always writes at its end, however many processes share it."""
    make_private(path.parent)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def log_tail(path: Path) -> str:
    """Return the last lines of a log, or nothing when it cannot be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return cleaning.text("\n".join(text.splitlines()[-TAIL_LINES:]), TAIL_BYTES)


def _fsync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
