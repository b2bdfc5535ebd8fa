"""Remove what ended attempts have left on the disk; the database knows whose each directory is."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
import time
from pathlib import Path
from uuid import UUID

from django.conf import settings

from tasks_app.models import Attempt
from workers.process import prewarmed
from workers.process.publication import ATTEMPTS, NOTE, Places

OLD_AFTER_SEC = 3600.0
KEPT_FAILURES = 5
"""How many directories of failed attempts stay for inspection, the newest."""

logger = logging.getLogger(__name__)


def sweep(root: Path, *, old_after_sec: float = OLD_AFTER_SEC, kept: int = KEPT_FAILURES) -> list[Path]:
    """Start the removal of old directories of ended attempts and return them.

    A directory whose claim token this database does not know belongs to another system and is never touched. What an
    attempt had published goes too, unless that attempt is the one that completed its task.
    """
    found = _attempts_below(root)
    rows = Attempt.objects.filter(claim_token__in=[token for _, token, _ in found], ended_at__isnull=False)
    outcomes = dict(rows.values_list("claim_token", "outcome"))
    removed_dirs: list[Path] = []
    for noted_at, token, places in found:
        outcome = outcomes.get(token)
        if outcome is None:
            continue
        old = time.time() - noted_at >= old_after_sec
        if old and outcome != "completed" and places.published_dir.is_dir():
            removed_dirs.append(places.published_dir)
        if outcome != "completed" and kept > 0:
            kept -= 1
        elif old:
            removed_dirs.append(places.attempt_dir)
    if removed_dirs:
        logger.info("removing %d directories of ended attempts below %s", len(removed_dirs), root)
        threading.Thread(target=_remove, args=(removed_dirs,), name="cleanup", daemon=True).start()
    return removed_dirs


def _attempts_below(root: Path) -> list[tuple[float, UUID, Places]]:
    """Return time, claim token and places of each readable note of an attempt below a root, newest first."""
    found = []
    for note in (root / ATTEMPTS).glob(f"*/{NOTE}"):
        try:
            content = json.loads(note.read_text())
            places = Places(attempt_dir=note.parent, published_dir=Path(content["published_dir"]))
            token, noted_at = UUID(content["claim_token"]), note.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            continue
        # A handler can write into its attempt directory: what the note names must be a place that was the attempt's.
        if places.published_dir.parent.parent == root and places.published_dir.suffix == f".{str(token)[:8]}":
            found.append((noted_at, token, places))
    return sorted(found, key=lambda each: each[0], reverse=True)


def sweep_state() -> int:
    """Remove logs of attempts that are too old, and what killed spares have left; return how many files that were."""
    removed = len(prewarmed.sweep())
    oldest = time.time() - settings.ABSURD_LOG_DAYS * 86_400
    for log in (Path(settings.ABSURD_VAR) / "log" / "attempts").glob("*/*.log"):
        with contextlib.suppress(OSError):
            if log.stat().st_mtime < oldest:
                log.unlink()
                removed += 1
                log.parent.rmdir()
    return removed


def _remove(directories: list[Path]) -> None:
    for directory in reversed(directories):
        shutil.rmtree(directory, ignore_errors=True)
