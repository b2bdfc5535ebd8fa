"""How often something has happened in this minute: counted for all web processes in Redis, or here while it is away."""

from __future__ import annotations

import functools
import logging
import time

from django.conf import settings
from django.core.cache import cache
from redis import Redis
from redis.exceptions import RedisError

PERIOD_SEC = 60
WAIT_SEC = 0.25
"""For how long Redis may keep a request waiting."""
AWAY_SEC = 5.0
"""For how long Redis is not asked again after it has failed, so that requests do not wait for it."""

logger = logging.getLogger(__name__)

_away_until = 0.0


def wait_sec(kind: str, name: str) -> int | None:
    """Count one of a kind under a name; return in how many seconds to come back, or None for one within the limit."""
    most = settings.ABSURD_THROTTLE.get(f"{kind}_per_min", 0)
    if not most:
        return None
    number, left_sec = count(f"{kind}:{name}")
    return left_sec if number > most else None


def count(name: str) -> tuple[int, int]:
    """Count once more under a name; return how often that was in this minute, and in how many seconds it ends."""
    global _away_until
    moment = time.time()
    key = f"{settings.ABSURD_CHANNEL_PREFIX}:{name}:{int(moment // PERIOD_SEC)}"
    left_sec = PERIOD_SEC - int(moment % PERIOD_SEC)
    if settings.ABSURD_REDIS_URL and time.monotonic() >= _away_until:
        try:
            return _count_there(key), left_sec
        except (RedisError, OSError) as error:
            logger.warning("Redis does not answer, so this process limits requests by its own count: %s", error)
            _away_until = time.monotonic() + AWAY_SEC
    return _count_here(key), left_sec


def _count_there(key: str) -> int:
    redis = _redis(settings.ABSURD_REDIS_URL)
    number = int(redis.incr(key))
    if number == 1:
        redis.expire(key, 2 * PERIOD_SEC)
    return number


@functools.cache
def _redis(url: str) -> Redis:
    """Return the one client of the process: its connections outlive the requests, and threads may share it."""
    return Redis.from_url(url, socket_connect_timeout=WAIT_SEC, socket_timeout=WAIT_SEC)


def _count_here(key: str) -> int:
    try:
        return int(cache.incr(key))
    except ValueError:  # the first of its minute
        return 1 if cache.add(key, 1, timeout=2 * PERIOD_SEC) else int(cache.incr(key))
