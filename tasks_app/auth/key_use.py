"""When each key was last used, to the minute: enough to find the keys that nobody needs any more."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.db import Error, transaction
from django.db.models import Q

from tasks_app.models import ApiKey
from tasks_app.postgresql import clock

INTERVAL_SEC = 60.0

logger = logging.getLogger(__name__)

_noted: dict[str, float] = {}
"""When this process last wrote of each key, by its own monotonic clock."""


def note(key: ApiKey) -> None:
    """Write down that a key is used, at most once a minute; waits for nobody, and its failure stops no request."""
    moment = time.monotonic()
    if moment - _noted.get(key.pk, -INTERVAL_SEC) < INTERVAL_SEC:
        return
    _noted[key.pk] = moment
    long_ago = Q(last_used_at=None) | Q(last_used_at__lt=clock.DatabaseNow() - timedelta(seconds=INTERVAL_SEC))
    free = ApiKey.objects.filter(long_ago, pk=key.pk).select_for_update(skip_locked=True, of=("self",))
    try:
        with transaction.atomic():
            ApiKey.objects.filter(pk__in=free.values("pk")).update(last_used_at=clock.DatabaseNow())
    except Error as error:
        logger.warning("the use of the key %s could not be noted: %s", key.prefix, error)


def forget() -> None:
    """Forget what was noted, so that the next use is written again."""
    _noted.clear()
