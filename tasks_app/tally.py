"""How often something has happened in this minute: counted for all web processes in Redis, or here while it is away."""

from __future__ import annotations

import logging
import time

from django.core.cache import BaseCache, caches
from redis.exceptions import RedisError

PERIOD_SEC = 60
AWAY_SEC = 5.0
"""For how long Redis is not asked again after it has failed, so that requests do not wait for it."""

logger = logging.getLogger(__name__)

_away_until = 0.0


def count(name: str) -> tuple[int, int]:
    """Count once more under a name; return how often that was in this minute, and in how many seconds it ends."""
    global _away_until
    moment = time.time()
    key = f"{name}:{int(moment // PERIOD_SEC)}"
    left_sec = PERIOD_SEC - int(moment % PERIOD_SEC)
    if time.monotonic() >= _away_until:
        try:
            return _add(caches["shared"], key), left_sec
        except (RedisError, OSError) as error:
            logger.warning("Redis does not count requests, so this process does it alone: %s", error)
            _away_until = time.monotonic() + AWAY_SEC
    return _add(caches["default"], key), left_sec


def _add(cache: BaseCache, key: str) -> int:
    try:
        return int(cache.incr(key))
    except ValueError:  # the first of its minute
        return 1 if cache.add(key, 1, timeout=2 * PERIOD_SEC) else int(cache.incr(key))
