"""Which data roots this host must see, and whether it does: each is proven by a marker file.

A root inside the state directory, and in local mode every root that exists, is marked by itself the first time that it
is seen. Any other is marked once, by `manage.py absurd_setup --mark-roots` where its files are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from tasks_app.files import directories


def missing() -> list[str]:
    """Return the data roots that this host must see and does not. May hang on a dead mount."""
    return [str(root) for root in required() if not directories.is_marked(str(root))]


def required() -> list[Path]:
    """Return the data roots that must be there.

    In local mode those that were there once; otherwise all that ABSURD_DATA_ROOTS names, and of the default ones those
    whose directory exists.
    """
    roots: Sequence[Path] = settings.ABSURD_DATA_ROOTS
    if settings.ABSURD_MODE == "local":
        once = _marked_before()
        return [root for root in roots if str(root) in once]
    return [root for root in roots if settings.ABSURD_DATA_ROOTS_GIVEN or _is_own(root) or root.is_dir()]


def mark_own() -> None:
    """Mark the roots that need no operator, each once: one that loses its marker later is missing."""
    before = _marked_before()
    now = set(before)
    for root in settings.ABSURD_DATA_ROOTS:
        own = _is_own(root)
        if str(root) in before or not (own or settings.ABSURD_MODE == "local"):
            continue
        try:
            if own:
                root.mkdir(parents=True, exist_ok=True)
            directories.mark(str(root))
        except FileExistsError:  # another process was faster
            pass
        except OSError:
            continue
        now.add(str(root))
    if now != before:
        _remember(now)


def mark_all() -> dict[str, str]:
    """Mark every data root that exists; return `marked` for each, or why it is not."""
    results: dict[str, str] = {}
    for root in settings.ABSURD_DATA_ROOTS:
        try:
            directories.mark(str(root))
            results[str(root)] = "marked"
        except FileNotFoundError:
            results[str(root)] = "does not exist on this host"
        except OSError as error:
            results[str(root)] = f"cannot be marked: {error.strerror}"
    _remember(_marked_before() | {root for root, result in results.items() if result == "marked"})
    return results


def _is_own(root: Path) -> bool:
    return root.is_relative_to(settings.ABSURD_VAR)


def _record() -> Path:
    return Path(settings.ABSURD_VAR) / "marked-roots.json"


def _marked_before() -> set[str]:
    try:
        return set(json.loads(_record().read_text()))
    except (OSError, ValueError):
        return set()


def _remember(roots: set[str]) -> None:
    record = _record()
    record.parent.mkdir(parents=True, exist_ok=True)
    fresh = record.with_name(f"{record.name}.{os.getpid()}")
    fresh.write_text(json.dumps(sorted(roots)))
    fresh.replace(record)
