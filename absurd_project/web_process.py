"""What a web process does beside answering: sweeps, the cleaning up after logins, and settings of the interpreter."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time

from django.conf import settings
from django.db import connection

from absurd_project import login_protection
from tasks_app.engine import system_state
from tasks_app.maintenance.sweeper import Sweeper
from workers.service_manager import Notifier

INTERVAL_SEC = 0.5
CLEANING_SEC = 3600.0

logger = logging.getLogger(__name__)


def start() -> threading.Thread:
    """Sweep in a daemon thread until the process ends."""
    thread = threading.Thread(target=_sweep_on, name="sweeper", daemon=True)
    thread.start()
    return thread


def _sweep_on() -> None:
    sweeper, failing, next_cleaning, initialised = Sweeper(), False, 0.0, False
    while True:
        time.sleep(INTERVAL_SEC)
        try:
            if not initialised:
                system_state.initialise(enabled=settings.ABSURD_ENABLED)
                initialised = True
            sweeper.sweep()
            if time.monotonic() >= next_cleaning:
                next_cleaning = time.monotonic() + CLEANING_SEC
                login_protection.clean_up()
        except Exception as error:  # sweeping must outlive any outage; each kind of failure is logged once
            if not failing:
                logger.warning("sweeps failed and are retried: %s", error)
            failing = True
            connection.close()
        else:
            failing = False


BEATS_SEC = 1.0


def notify() -> None:
    """Say to systemd that the web is ready, and that the event loop turns; without systemd do nothing.

    Called while daphne loads the application, so the first beat is one of the loop that serves.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    from twisted.internet import reactor, task  # daphne's loop; a command or a test has none

    notifier = Notifier()

    def beat() -> None:
        notifier.ready()
        notifier.alive()

    beats = task.LoopingCall(beat)
    reactor.callWhenRunning(beats.start, BEATS_SEC)


TURN_SEC = 0.001
"""How long a thread that computes, such as one that makes up a long list, keeps the others from going on."""


def shorten() -> None:
    """Let threads take turns more often, and spare the garbage collector all that is loaded by now and stays."""
    sys.setswitchinterval(TURN_SEC)
    gc.collect()
    gc.freeze()
