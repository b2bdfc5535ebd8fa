"""Lines from a pipe, read without waiting."""

from __future__ import annotations

import os
from collections.abc import Iterator

from workers.process import protocol

READ_BYTES = 1 << 16


class Lines:
    """The whole lines that have arrived on a pipe, read without waiting."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._partial = b""
        self.at_end = False
        os.set_blocking(fd, False)

    def read(self) -> Iterator[bytes]:
        """Yield the lines that can be read now. Raises ValueError for one that is longer than any message."""
        while not self.at_end:
            try:
                chunk = os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                return
            self.at_end = not chunk
            *whole, self._partial = (self._partial + chunk).split(b"\n")
            if len(self._partial) > protocol.LINE_BYTES_MOST:
                raise ValueError(f"a message is longer than {protocol.LINE_BYTES_MOST} bytes")
            yield from whole
