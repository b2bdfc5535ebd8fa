"""Whether this host sees its data roots, looked at by a thread of its own: a dead mount must not hold up the worker."""

from __future__ import annotations

import logging
import threading
import time

from django.conf import settings

from tasks_app.monitoring import data_roots

LOOK_SEC = 5.0
SILENT_SEC = 30.0
"""A look that takes longer hangs on a dead mount."""
FIRST_LOOK_SEC = 10.0

logger = logging.getLogger(__name__)


class RootWatch:
    """Knows which data roots are missing; while any is, nothing may be claimed."""

    def __init__(self) -> None:
        self._found: tuple[str, ...] = ()
        self._looked_at = time.monotonic()
        self._looked = threading.Event()
        self._told: tuple[str, ...] = ()

    def start(self) -> None:
        """Look for the first time, and go on looking."""
        threading.Thread(target=self._watch, name="data-roots", daemon=True).start()
        self._looked.wait(FIRST_LOOK_SEC)

    @property
    def missing(self) -> tuple[str, ...]:
        """The data roots that this host does not see; all of them while the file system does not answer."""
        if not self._looked.is_set() or time.monotonic() - self._looked_at > SILENT_SEC:
            return tuple(map(str, settings.ABSURD_DATA_ROOTS))
        return self._found

    @property
    def forbid_claims(self) -> bool:
        """Whether roots are missing, or their return has not been announced yet."""
        return bool(self.missing or self._told)

    @property
    def changed(self) -> bool:
        """Whether other roots are missing than was announced last."""
        return self.missing != self._told

    def news(self) -> bool:
        """Return, once for each change, whether other roots are missing than before; it is logged."""
        missing = self.missing
        if missing == self._told:
            return False
        self._told = missing
        if missing:
            logger.warning("data roots are missing on this host, nothing is claimed: %s", ", ".join(missing))
        else:
            logger.info("all data roots are there, tasks are claimed again")
        return True

    def _watch(self) -> None:
        while True:
            try:
                data_roots.mark_own()
                self._found = tuple(data_roots.missing())
            except OSError as error:
                logger.warning("the data roots cannot be looked at: %s", error)
                self._found = tuple(map(str, settings.ABSURD_DATA_ROOTS))
            self._looked_at = time.monotonic()
            self._looked.set()
            time.sleep(LOOK_SEC)
