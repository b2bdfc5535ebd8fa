"""Ids of tasks: UUIDs of version 7, whose first half is the time, so that new rows stand together in the index."""

from __future__ import annotations

import os
import time
from uuid import UUID

SHORT_CHARS = 8


def new_task_id() -> UUID:
    """Return a new id (RFC 9562, section 5.7): 48 bits of Unix time in ms, version, variant and 74 random bits."""
    moment_ms = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high = (moment_ms << 16) | 0x7000 | (random >> 68)
    low = 0x8000_0000_0000_0000 | (random & 0x3FFF_FFFF_FFFF_FFFF)
    return UUID(int=(high << 64) | low)


def short_id(task_id: object) -> str:
    """Return the end of an id, which is random; the beginning is the same for all that are made within a minute."""
    return str(task_id)[-SHORT_CHARS:]
