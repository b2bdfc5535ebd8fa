"""Many WebSocket clients in one process, which does nothing but note what arrives when.

`python -m absurd_project.benchmark.feed_clients PORT CLIENTS MESSAGES SECONDS` prints `ready` once all are connected
and, in the end, what each has received, as JSON. It reads frames itself: a full WebSocket library would take more of
the machine than the server that is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field

ADDRESS = "/ws/status?types=task_update"
_NUMBER = b'"event_id": '
_HANDSHAKE = (
    "GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@dataclass(kw_only=True)
class Received:
    """The numbers of the events that one client received, and when, by the machine's monotonic clock."""

    numbers: list[int] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    left_out: bool = False
    """Whether a resync came, which says that events are missing."""


class Client(asyncio.Protocol):
    """One client."""

    def __init__(self, port: int, messages: int) -> None:
        self.received = Received()
        self.greeted = asyncio.Event()
        self.done = asyncio.Event()
        self._port = port
        self._wanted = messages
        self._buffer = b""
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the socket."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        transport.write(_HANDSHAKE.format(address=ADDRESS, port=self._port).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self.greeted.set()
        self.done.set()

    def data_received(self, data: bytes) -> None:
        """Note the number of each message."""
        moment = time.monotonic()
        self._buffer += data
        if not self._is_open:
            _, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            self._is_open, self._buffer = True, rest
        position = 0
        while (frame := _frame(self._buffer, position)) is not None:
            kind, begin, position = frame
            if kind == 1:
                self._note(self._buffer[begin:position], moment)
            elif kind == 9:
                self._transport.write(_pong(self._buffer[begin:position]))
        self._buffer = self._buffer[position:]

    def _note(self, text: bytes, moment: float) -> None:
        if not self.greeted.is_set():
            self.greeted.set()
            return
        self.received.left_out |= text.startswith(b'{"type": "resync"')
        self.received.numbers.append(int(text.rpartition(_NUMBER)[2].rstrip(b"}")))
        self.received.moments.append(moment)
        if len(self.received.numbers) >= self._wanted:
            self.done.set()


def _pong(payload: bytes) -> bytes:
    return bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def _frame(data: bytes, position: int) -> tuple[int, int, int] | None:
    """Return the kind of the frame at a position and where its payload begins and ends, once all of it is there."""
    if len(data) < position + 2:
        return None
    length, begin = data[position + 1], position + 2
    if length >= 126:
        size = 2 if length == 126 else 8
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
    end = begin + length
    return (data[position] & 15, begin, end) if begin <= end <= len(data) else None


async def listen(port: int, clients: int, messages: int, seconds: float) -> list[Received]:
    """Connect the clients, print `ready`, and return what they received until all have enough or the time is over."""
    loop = asyncio.get_running_loop()
    connected = [Client(port, messages) for _ in range(clients)]
    for client in connected:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(client.greeted.wait() for client in connected))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(client.done.wait() for client in connected))
    except TimeoutError:
        pass
    return [client.received for client in connected]


if __name__ == "__main__":
    port, clients, messages, seconds = (int(text) for text in sys.argv[1:5])
    sys.stdout.write(
        json.dumps([asdict(each) for each in asyncio.run(listen(port, clients, messages, seconds))]) + "\n"
    )
