"""Checks of this host: free space on its disks, its data roots, and Redis."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from django.conf import settings

from tasks_app.files import directories
from tasks_app.monitoring import data_roots
from tasks_app.monitoring.health.checks import Check, bad, counted, ok, threshold, warn, within


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
    """Check the space or the number of files left on a file system, whichever is less. May hang on a dead mount."""
    state = os.statvfs(path)
    used = state.f_blocks - state.f_bfree
    free = [state.f_bavail / max(1, used + state.f_bavail)]
    if state.f_files:  # some file systems count no files
        free.append(state.f_favail / state.f_files)
    gigabytes = state.f_bavail * state.f_frsize / 1e9
    kind = "of its files" if min(free) < free[0] else f"({gigabytes:.0f} GB)"
    found = within(
        round(min(free), 4),
        f"{path} has {min(free):.0%} free {kind}",
        "delete files that are no longer needed there, or enlarge the disk",
        warn_at="disk_free_warn_fraction",
        bad_at="disk_free_bad_fraction",
        least=True,
    )
    return replace(found, place=str(path))


def disk_without_answer(path: Path, error: Exception) -> Check:
    """Return the result for a disk that does not answer."""
    return bad(
        f"{path} does not answer ({error or type(error).__name__})",
        "check its mount and its file server; processes that use it hang until it answers",
    )


def redis_server() -> Check:
    """Check that Redis answers."""
    import redis  # here, because it is slow to import and commands seldom check

    if not settings.ABSURD_REDIS_URL:
        return ok("No Redis is configured, the live feed polls")
    limit_sec = threshold("limit_sec") / 2
    try:
        with redis.Redis.from_url(
            settings.ABSURD_REDIS_URL, socket_connect_timeout=limit_sec, socket_timeout=limit_sec
        ) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        return redis_without_answer(error)
    return ok("Redis answers")


def redis_without_answer(error: Exception) -> Check:
    """Return the result for a Redis that does not answer."""
    reason = str(error).split("\n", 1)[0][:200] or type(error).__name__
    return warn(
        "Redis does not answer, the live feed falls back to polling",
        f"start Redis or correct ABSURD_REDIS_URL ({reason})",
    )


def roots() -> Check:
    """Check that the data roots are mounted on this host. May hang on a dead mount."""
    missing = data_roots.missing()
    return counted(
        len(missing),
        "All data roots of this host are mounted",
        f"Data roots are not mounted on this host: {', '.join(missing)} (no file {directories.MARKER} in them)",
        "mount them; if a root is new, mark it with manage.py absurd_setup --mark-roots",
    )


def roots_without_answer(error: Exception) -> Check:
    """Return the result for data roots that do not answer."""
    return warn(
        f"The data roots do not answer ({error or type(error).__name__})", "check their mounts and file servers"
    )
