"""Writers of events whose transactions commit in another order than they drew their numbers."""

from __future__ import annotations

import random
import threading
import time

from django.db import connection, transaction

from tests.tasks_app.notes import spawn_note


def write_until(number: int, enough: threading.Event) -> None:
    """Spawn in transactions that dawdle before and after their events, and roll a fifth of them back."""
    dice = random.Random(number)
    try:
        while not enough.is_set():
            try:
                with transaction.atomic():
                    for _ in range(dice.randint(1, 3)):
                        spawn_note()
                        time.sleep(dice.random() * 0.02)
                    if dice.random() < 0.2:
                        raise InterruptedError
            except InterruptedError:
                continue
    finally:
        connection.close()
