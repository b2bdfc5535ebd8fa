"""Remove what ended attempts have left on the disk; the database knows whose each directory is."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from pathlib import Path

from django.conf import settings

from tasks_app.models import Attempt
from workers.process import prewarmed
from workers.process.publication import old_attempts

OLD_AFTER_SEC = 3600.0
KEPT_FAILURES = 5
"""How many directories of failed attempts stay for inspection, the newest."""

logger = logging.getLogger(__name__)


def sweep(root: Path, *, old_after_sec: float = OLD_AFTER_SEC, kept: int = KEPT_FAILURES) -> list[Path]:
    """Start the removal of old directories of ended attempts and return them.

    A directory whose claim token this database does not know belongs to somebody else and is never touched. What an
    attempt had published goes too, unless that attempt is the one that completed its task.
    """
    found = old_attempts(root, time.time())
    rows = Attempt.objects.filter(claim_token__in=[each.claim_token for each in found], ended_at__isnull=False)
    outcomes = dict(rows.values_list("claim_token", "outcome"))
    removed_dirs: list[Path] = []
    for each in found:
        outcome = outcomes.get(each.claim_token)
        if outcome is None:
            continue
        old = each.age_sec >= old_after_sec
        if old and outcome != "completed" and each.places.published_dir.is_dir():
            removed_dirs.append(each.places.published_dir)
        if outcome != "completed" and kept > 0:
            kept -= 1
        elif old:
            removed_dirs.append(each.places.attempt_dir)
    if removed_dirs:
        logger.info("removing %d directories of ended attempts below %s", len(removed_dirs), root)
        threading.Thread(target=_remove, args=(removed_dirs,), name="cleanup", daemon=True).start()
    return removed_dirs


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
