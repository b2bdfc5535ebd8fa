"""One warm spare a worker: a guarded child that has imported what attempts need, while there was time for it.

It is used once, for a task name that asks for the same module and the same number of cores: what OpenMP and numpy may
use is settled when they are loaded. It stands in no table and counts as no attempt. A spare that dies is replaced, and
an attempt that was given to one that died before it began is started cold.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from workers import host_size
from workers.process import environment, protocol
from workers.process.handle import Enclosure, Surroundings

IDLE_SEC = 600.0
"""A spare that nobody has needed for so long is ended, until the next attempt shows that there is work again."""
FREE_BYTES_LEAST = 2_000_000_000
TRY_AGAIN_SEC = 60.0
LEAVE_SEC = 2.0
LAST_WORDS_BYTES = 2000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a spare is good for."""

    module: str
    cores: int


class Spare:
    """A child that imports, or waits."""

    def __init__(self, kind: Kind, var: Path, *, log_bytes_most: int) -> None:
        mark = uuid.uuid4()
        scratch = directory(var) / str(mark)
        scratch.mkdir(parents=True)
        self.kind = kind
        self.began_at = time.monotonic()
        self.ready = False
        self._log_fd = os.memfd_create("spare-log")
        own = environment.of_child(
            mark=str(mark), cores=kind.cores, scratch=scratch, log_path=scratch / "casa.log", var=var
        )
        self.enclosure = Enclosure(
            Surroundings(
                mark=str(mark),
                environment=own | {protocol.WARM: kind.module},
                scratch=scratch,
                log_bytes_most=log_bytes_most,
            ),
            self._log_fd,
        )
        self.enclosure.was_spare = True

    def look(self) -> bool:
        """Take in whether it is ready; return whether it lives."""
        with contextlib.suppress(ValueError):
            for line in self.enclosure.replies.read():
                self._hear(protocol.decode(line))
        return not self.enclosure.replies.at_end and self.enclosure.guardian.poll() is None

    def _hear(self, message: protocol.Said) -> None:
        if isinstance(message, protocol.Ready):
            self.ready = True
            took_sec = time.monotonic() - self.began_at
            logger.info("warm spare is ready pid=%d module=%s after_sec=%.1f", message.pid, self.kind.module, took_sec)

    def forget_log(self) -> None:
        """Let go of what it printed while it was a spare."""
        os.close(self._log_fd)

    def last_words(self) -> str:
        """Return the end of what it printed."""
        start = max(0, os.fstat(self._log_fd).st_size - LAST_WORDS_BYTES)
        return os.pread(self._log_fd, LAST_WORDS_BYTES, start).decode(errors="replace").strip()


class Bench:
    """Keeps one spare of the kind that was asked for last."""

    def __init__(self, var: Path, *, enabled: bool, log_bytes_most: int) -> None:
        self._var = var
        self._enabled = enabled
        self._log_bytes_most = log_bytes_most
        self._wanted: Kind | None = None
        self._spare: Spare | None = None
        self._not_before = 0.0
        self._ending: list[subprocess.Popen[bytes]] = []

    def take(self, kind: Kind | None) -> Enclosure | None:
        """Return the spare if it is ready and of this kind, and want another one."""
        if kind is None or not self._enabled:
            return None
        self._wanted = kind
        spare = self._spare
        if spare is None or spare.kind != kind or not spare.look() or not spare.ready:
            return None
        self._spare = None
        spare.forget_log()
        return spare.enclosure

    def expect(self, kind: Kind | None) -> None:
        """Have a spare of this kind made ready before an attempt asks for one."""
        self._wanted = self._wanted or kind

    def tend(self, *, wanted: bool) -> None:
        """Start, replace or end the spare, as it is needed; none is needed while the worker drains."""
        self._ending = [guardian for guardian in self._ending if guardian.poll() is None]
        spare = self._spare
        if spare is not None and not spare.look():
            logger.warning("the warm spare ended by itself: %s", spare.last_words())
            self._end()
            self._not_before = time.monotonic() + TRY_AGAIN_SEC
        elif spare is not None and time.monotonic() - spare.began_at > IDLE_SEC:
            self._wanted = None
        if self._spare is not None and (not wanted or self._spare.kind != self._wanted):
            self._end()
        if self._spare is None and wanted and self._wanted is not None and self._may_start():
            self._start(self._wanted)

    def discard(self, enclosure: Enclosure) -> None:
        """End one that died before it began its attempt."""
        self._ending.append(enclosure.close())

    def close(self) -> None:
        """End the spare, and give what still clears away a moment."""
        self._enabled = False
        self._end()
        for guardian in self._ending:
            with contextlib.suppress(subprocess.TimeoutExpired):
                guardian.wait(LEAVE_SEC)

    def _may_start(self) -> bool:
        if not self._enabled or time.monotonic() < self._not_before:
            return False
        return host_size.free_bytes() > FREE_BYTES_LEAST

    def _start(self, kind: Kind) -> None:
        try:
            self._spare = Spare(kind, self._var, log_bytes_most=self._log_bytes_most)
        except OSError as error:
            logger.warning("no warm spare could be started: %s", error)
            self._not_before = time.monotonic() + TRY_AGAIN_SEC

    def _end(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            self._ending.append(spare.enclosure.close())
            spare.forget_log()


def directory(var: Path) -> Path:
    """Return where spares have their scratch directories."""
    return var / "spares"


def sweep(var: Path) -> list[Path]:
    """Remove what is left of spares whose guardian was killed: each guardian holds a lock on its directory."""
    removed = []
    for scratch in directory(var).glob("*-*"):
        with contextlib.suppress(OSError):
            fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - scratch.stat().st_mtime > TRY_AGAIN_SEC:
                    shutil.rmtree(scratch, ignore_errors=True)
                    removed.append(scratch)
            finally:
                os.close(fd)
    return removed
