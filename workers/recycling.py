"""Starting anew: when a worker has grown old or large, or was told to, it ends its work and becomes a fresh process."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import NoReturn

from workers.options import Options


class Recycling:
    """Knows whether it is time, and why."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._started_at = time.monotonic()
        self.because = ""

    def check(self, rss_bytes: int) -> bool:
        """Return whether the worker is to start anew; once it is so, it stays so."""
        if self.because:
            return True
        age_sec, most_sec = time.monotonic() - self._started_at, self._options.max_age_sec
        if most_sec is not None and age_sec > most_sec:
            self.because = f"it has worked for {age_sec:.0f} s, longer than --max-age {most_sec:g}"
        most_gb = self._options.max_rss_gb
        if most_gb is not None and rss_bytes / 1e9 > most_gb:
            self.because = f"it holds {rss_bytes / 1e9:.2f} GB, more than --max-rss-gb {most_gb:g}"
        return bool(self.because)

    def order(self, because: str = "an operator ordered it") -> None:
        """Start anew for this reason, unless there is one already."""
        self.because = self.because or because


def start_anew() -> NoReturn:
    """Replace this process by a fresh one with the same command line, pid and supervisor."""
    sys.stdout.flush()
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line
