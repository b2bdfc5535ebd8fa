"""Where the threads of an attempt stand, when it is stopped or crashes. Nothing but the standard library.

The child has faulthandler write into a file in memory that its guardian holds: a handler in C, which also works while
native code keeps Python's global lock, and a file that no full disk refuses and no native code prints into.
"""

from __future__ import annotations

import os
import signal
import time

from workers.process.process_tree import send

STACK_FD = "ABSURD_STACK_FD"
HEAD_BYTES, TAIL_BYTES = 8 * 1024, 24 * 1024
"""A dump of more is shortened in the middle: the newest threads come first, the main thread last."""
DUMP_LIMIT_SEC = 0.3
LOOK_EVERY_SEC = 0.01
THREADS_MOST = 50


class Stacks:
    """The stacks that one child has written so far."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("stacks")
        self._threads = ""
        self._logged_bytes = 0

    def request(self, child: int, others: set[int]) -> None:
        """Let the child write its stacks, and keep what its threads and the attempt's other processes wait for."""
        self._threads = _waits(child, others)
        before = last = os.fstat(self.fd).st_size
        send(child, signal.SIGUSR1)
        deadline = time.monotonic() + DUMP_LIMIT_SEC
        while time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_SEC)
            size = os.fstat(self.fd).st_size
            if size == last and size > before:
                return
            last = size

    def unlogged(self) -> bytes:
        """Return what has been written since the last call, shortened, for the log."""
        since, self._logged_bytes = self._logged_bytes, os.fstat(self.fd).st_size
        return self._read(since, self._logged_bytes)

    def text(self) -> str:
        """Return everything, shortened, followed by what the threads waited for."""
        dumped = self._read(0, os.fstat(self.fd).st_size).decode(errors="replace")
        return "\n".join(part for part in (dumped.rstrip(), self._threads) if part)

    def _read(self, start: int, end: int) -> bytes:
        if end - start <= HEAD_BYTES + TAIL_BYTES:
            return os.pread(self.fd, end - start, start)
        head, tail = os.pread(self.fd, HEAD_BYTES, start), os.pread(self.fd, TAIL_BYTES, end - TAIL_BYTES)
        left_out = end - start - HEAD_BYTES - TAIL_BYTES
        return head + f"\n[{left_out} bytes left out]\n".encode() + tail


def _waits(child: int, others: set[int]) -> str:
    """Return what the child's threads and the attempt's other processes wait for in the kernel, a line each."""
    places = [f"/proc/{child}/task/{name}" for name in _listing(f"/proc/{child}/task")]
    places += [f"/proc/{pid}" for pid in sorted(others - {child})]
    lines = [f"  {line}" for place in places[:THREADS_MOST] if (line := wait_of(place))]
    return "\n".join(["Threads and processes (pid, state, waiting in the kernel at, name):", *lines]) if lines else ""


def wait_of(place: str) -> str:
    """Return pid, state, place in the kernel and name of a process or thread, given its directory in /proc."""
    try:
        with open(f"{place}/stat", "rb") as stat, open(f"{place}/wchan", "rb") as wchan:  # noqa: PTH123
            head, _, rest = stat.read().decode(errors="replace").rpartition(")")
            pid, _, name = head.partition(" (")
            return f"{pid} {rest.split(None, 1)[0]} {wchan.read().decode(errors='replace').strip('0') or '-'} {name}"
    except (OSError, IndexError):
        return ""


def _listing(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208
    except OSError:
        return []
