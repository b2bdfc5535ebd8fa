"""Django's priorities, −100 to 100, as the queue's, 1 to 20. Pure."""

from __future__ import annotations

import math

DJANGO_MOST = 100
LEAST, DEFAULT, MOST = 1, 5, 20


def priority_of(django_priority: int) -> int:
    """Return the queue's priority: −100 is 1, 0 the default 5, 100 is 20, and straight lines between."""
    steps = MOST - DEFAULT if django_priority > 0 else DEFAULT - LEAST
    return DEFAULT + math.floor(django_priority * steps / DJANGO_MOST + 0.5)
