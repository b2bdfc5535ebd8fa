"""Which process is it, and is it alive? Answers come from /proc, never from a bare number in a file."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def state(pid: int) -> str | None:
    """Return the state letter of a process (R, S, D, Z, ...), or None when there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else None


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None when there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def group(pid: int) -> int | None:
    """Return the process group of a process, or None when there is no such process."""
    fields = _stat(pid)
    return int(fields[2]) if fields else None


def descendants(pid: int) -> Iterator[int]:
    """Yield the children of a process, their children, and so on."""
    for entry in Path("/proc").iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else []
        if fields and int(fields[1]) == pid:
            yield int(entry.name)
            yield from descendants(int(entry.name))


def alive(pid: int) -> bool:
    """Return whether a process still runs; a zombie does not."""
    found = state(pid)
    return found is not None and found not in "ZX"


def command(pid: int) -> list[str]:
    """Return the argv of a process, empty when it is gone or a zombie."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(part) for part in raw.rstrip(b"\0").split(b"\0")] if raw else []


def works_in(pid: int, directory: Path) -> bool:
    """Return whether the process's working directory is this one, however either path is spelt."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:
        return False


def processes_in(directory: Path) -> Iterator[int]:
    """Yield the processes whose working directory is this one."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and works_in(int(entry.name), directory):
            yield int(entry.name)


class NotPermitted(RuntimeError):
    """A process or directory is another user's; the message says whose."""


def send(pid: int, number: signal.Signals, is_ours: Callable[[int], bool]) -> bool:
    """Signal a process only if it is still the one we mean; return whether it was signalled.

    The descriptor pins the process before the question is asked, so that a number given to a stranger
    in between is never signalled.

    Raises:
        NotPermitted: the process is ours to stop, but belongs to another user.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_ours(pid):
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    except PermissionError:
        raise NotPermitted(f"process {pid} is another user's: only that user or root may stop it") from None
    finally:
        os.close(descriptor)


def wait_until_gone(pid: int, limit_sec: float) -> bool:
    """Wait until a process has ended (reaped or not); return whether it did in time."""
    began = start_ticks(pid)
    deadline = time.monotonic() + limit_sec
    while alive(pid) and start_ticks(pid) == began:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def read_pid(path: Path) -> int | None:
    """Return the number in a pid file's first line, or None when there is no usable one."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(path.read_text().splitlines()[0])
        return pid if pid > 1 else None
    return None


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()
