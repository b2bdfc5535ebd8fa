"""The queue's sweeps, run beside the web server."""

from __future__ import annotations

import logging
import threading
import time

from django.db import connection

from tasks_app.sweeper import Sweeper

INTERVAL_SEC = 0.5

logger = logging.getLogger(__name__)


def start() -> threading.Thread:
    """Sweep in a daemon thread until the process ends."""
    thread = threading.Thread(target=_sweep_on, name="sweeper", daemon=True)
    thread.start()
    return thread


def _sweep_on() -> None:
    sweeper, failing = Sweeper(), False
    while True:
        time.sleep(INTERVAL_SEC)
        try:
            sweeper.sweep()
        except Exception as error:  # sweeping must outlive any outage; each kind of trouble is told once
            if not failing:
                logger.warning("sweeps fail and are tried again: %s", error)
            failing = True
            connection.close()
        else:
            failing = False
