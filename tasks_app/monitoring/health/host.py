"""Is there room on the disks, and do messages get through?"""

from __future__ import annotations

import os
from pathlib import Path

import redis
from django.conf import settings

from tasks_app.files import root_marker
from tasks_app.monitoring import data_roots
from tasks_app.monitoring.health.checks import Check, below, limit


def watched_roots() -> list[Path]:
    """Return where data are written: the data roots and the state directory."""
    return list(dict.fromkeys([*settings.ABSURD_DATA_ROOTS, settings.ABSURD_VAR]))


def device(path: Path) -> int | None:
    """Return the file system that a path is on, None when the path does not exist. May hang on a dead mount."""
    try:
        return path.stat().st_dev
    except FileNotFoundError:
        return None


def disk(path: Path) -> Check:
    """How much room is left, in bytes or in files, whichever is less?"""
    state = os.statvfs(path)
    used = state.f_blocks - state.f_bfree
    free = [state.f_bavail / max(1, used + state.f_bavail)]
    if state.f_files:  # some file systems count no files
        free.append(state.f_favail / state.f_files)
    gigabytes = state.f_bavail * state.f_frsize / 1e9
    kind = "of its files" if min(free) < free[0] else f"({gigabytes:.0f} GB)"
    return below(
        "disk",
        round(min(free), 4),
        f"{path} has {min(free):.0%} free {kind}",
        "remove what is no longer needed there, or add room",
        warn="disk_free_warn_fraction",
        bad="disk_free_bad_fraction",
    )


def silent_disk(path: Path, error: Exception) -> Check:
    """Say that a disk does not answer."""
    return Check(
        name="disk",
        state="bad",
        message=f"{path} does not answer ({error or type(error).__name__})",
        remedy="see whether its mount is alive; what waits for it can only be ended by that",
    )


def messages() -> Check:
    """Does Redis answer?"""
    patience_sec = limit("limit_sec") / 2
    try:
        with redis.Redis.from_url(
            settings.ABSURD_REDIS_URL, socket_connect_timeout=patience_sec, socket_timeout=patience_sec
        ) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        return silent_messages(error)
    return Check(name="redis", state="ok", message="Redis answers")


def silent_messages(error: Exception) -> Check:
    """Say that Redis does not answer."""
    told = str(error).split("\n", 1)[0][:200] or type(error).__name__
    return Check(
        name="redis",
        state="warn",
        message="Redis does not answer, the live feed falls back to polling",
        remedy=f"start Redis or mend ABSURD_REDIS_URL ({told})",
    )


def roots() -> Check:
    """Does this host see its data roots? May hang on a dead mount."""
    missing = data_roots.missing()
    if not missing:
        return Check(name="data roots", state="ok", message="This host sees its data roots", value=0)
    return Check(
        name="data roots",
        state="warn",
        message=f"This host does not see {', '.join(missing)}: no file {root_marker.NAME} is there",
        remedy="mount them, or mark a new one with manage.py absurd_setup --mark-roots",
        value=len(missing),
        threshold=0,
    )


def silent_roots(error: Exception) -> Check:
    """Say that the data roots do not answer."""
    return Check(
        name="data roots",
        state="warn",
        message=f"The data roots do not answer ({error or type(error).__name__})",
        remedy="see whether their mounts are alive",
    )
