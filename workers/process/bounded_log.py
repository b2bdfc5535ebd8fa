"""Keep an attempt's log within bounds while others write to it. Nothing but the standard library: the guardian uses it.

Native code writes straight into the file, so nothing may stand between it and the disk that could block or kill it.
While it runs, the blocks in the middle are given back to the file system (a hole, read as zeros): offsets stay what
they are and no writer notices. When the last writer has ended the hole is closed. Where a file system cannot make
holes, it is closed while they write, for which the file is shortened: what is written at that moment may be lost.
"""

from __future__ import annotations

import ctypes
import os
import stat

KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
BLOCK_BYTES = 4096
STEP_BYTES = 16 * BLOCK_BYTES
CHUNK_BYTES = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


class BoundedLog:
    """The file behind a descriptor; of more than `most_bytes` the first and the last half are kept."""

    def __init__(self, fd: int, most_bytes: int) -> None:
        self._half = max(BLOCK_BYTES, most_bytes // 2 // BLOCK_BYTES * BLOCK_BYTES)
        self._hole_end = self._half
        self._missing_bytes = self._marker_bytes = 0
        self._size = 0
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        """Opened again, because what is written to an appending descriptor goes to the end."""

    def trim(self) -> bool:
        """Give back what is in the middle; return whether it grows so fast that it should be trimmed again soon."""
        if self._fd is None:
            return False
        size, before = os.fstat(self._fd).st_size, self._size
        self._size = size
        end = (size - self._half) // BLOCK_BYTES * BLOCK_BYTES
        if end - self._hole_end >= STEP_BYTES:
            if self._punch(end):
                self._hole_end = end
                os.pwrite(self._fd, self._marker(end - self._half), self._half)
            else:
                self._close_hole(end)
        return size - before > self._half // 4

    def finish(self) -> None:
        """Close the hole, when the last writer has ended."""
        if self._fd is None:
            return
        self.trim()
        if self._hole_end > self._half:
            self._close_hole(self._hole_end)
        os.close(self._fd)
        self._fd = None

    def _punch(self, end: int) -> bool:
        start, length = ctypes.c_longlong(self._hole_end), ctypes.c_longlong(end - self._hole_end)
        return bool(_libc.fallocate64(self._fd, KEEP_SIZE_PUNCH_HOLE, start, length) == 0)

    def _close_hole(self, end: int) -> None:
        """Move what follows `end` to where the first half ends, and shorten the file."""
        if self._fd is None:
            return
        self._missing_bytes += end - self._half - self._marker_bytes
        self._marker_bytes = os.pwrite(self._fd, self._marker(self._missing_bytes), self._half)
        target = self._half + self._marker_bytes
        while chunk := os.pread(self._fd, CHUNK_BYTES, end):
            os.pwrite(self._fd, chunk, target)
            end, target = end + len(chunk), target + len(chunk)
        os.ftruncate(self._fd, target)
        self._hole_end, self._size = self._half, target

    def _marker(self, missing: int) -> bytes:
        return f"\n[… {missing} bytes of this log were left out here …]\n".encode()
