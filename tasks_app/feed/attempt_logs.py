"""The logs of attempts, as far as they are on this host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from tasks_app.files.bounded_calls import in_time, in_time_async
from tasks_app.files.http_streaming import CHUNK_BYTES
from tasks_app.models import Attempt

BLOCK_BYTES = 1 << 16
TAIL_BYTES_MOST = 8 << 20
FOLLOW_SEC = 600.0
"""A follower is let go after so long, to come again: nobody stays for ever by mistake."""
POLL_SEC = 0.25
CHECK_SEC = 2.0
"""How often the database is asked whether the attempt has ended."""
FOLLOWERS_MOST = 200

_followers = 0


def root() -> Path:
    """Return the directory under which workers on this host write the logs."""
    return (settings.ABSURD_VAR / "log" / "attempts").resolve()


def locate(attempt: Attempt) -> Path | None:
    """Return where the attempt's log is on this host, resolved; None where there is none below the logs' directory."""
    if not attempt.log_path:
        return None
    return in_time(Path(attempt.log_path), _resolved, Path(attempt.log_path))


def _resolved(path: Path) -> Path | None:
    try:
        path = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if path.is_relative_to(root()) and path.is_file() else None


def start_of_tail(file: BinaryIO, lines: int) -> int:
    """Return where the last n lines begin, TAIL_BYTES_MOST before the end at the earliest."""
    end = place = file.seek(0, 2)
    earliest = max(0, end - TAIL_BYTES_MOST)
    left = lines
    while place > earliest:
        begin = max(earliest, place - BLOCK_BYTES)
        file.seek(begin)
        block = file.read(place - begin)
        # The newline that ends the last line begins no other.
        cut = len(block) - 1 if place == end and block.endswith(b"\n") else len(block)
        while (cut := block.rfind(b"\n", 0, cut)) >= 0:
            left -= 1
            if left == 0:
                return begin + cut + 1
        place = begin
    return earliest


def is_full() -> bool:
    """Whether no more followers are taken on."""
    return _followers >= FOLLOWERS_MOST


async def follow(file: BinaryIO, start: int, has_ended: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    """Yield what is in the log from a place on, and what is written to it until the attempt has ended."""
    global _followers
    _followers += 1
    try:
        with file:
            file.seek(start)
            async for part in _grow(file, has_ended):
                yield part
    finally:
        _followers -= 1


async def _grow(file: BinaryIO, has_ended: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    now = asyncio.get_running_loop().time
    until, check_at, ended = now() + FOLLOW_SEC, now(), False
    while True:
        if now() >= check_at:
            ended, check_at = await has_ended(), now() + CHECK_SEC
        while part := await in_time_async(Path(file.name), file.read, CHUNK_BYTES):
            yield part
        if ended or now() >= until:
            return
        await asyncio.sleep(POLL_SEC)
