"""Files sent over HTTP: whole or a range of bytes, in parts, so that neither memory nor other requests suffer."""

from __future__ import annotations

import os
import re
import stat
import threading
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from tasks_app.errors import FilesBusy, RangeNotSatisfiable
from tasks_app.files.bounded_calls import in_time, in_time_async
from tasks_app.files.remote import RemoteFile

CHUNK_BYTES = 1 << 20
SENT_MOST = 64
"""How many files, or directories as tar, a process sends in parts at once."""
_sending = threading.BoundedSemaphore(SENT_MOST)
_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")


@dataclass(frozen=True, kw_only=True)
class Window:
    """A number of bytes of a file from an offset on."""

    start: int
    length: int


def window_of(header: str | None, size: int) -> Window | None:
    """Return the window that a Range header requests of a file of `size` bytes; None for the whole file.

    Several ranges, other units and invalid headers count as no range, as in HTTP. Raises RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        end = min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
        length = end - start + 1
    if start >= size or length <= 0:
        raise RangeNotSatisfiable(size)
    return Window(start=start, length=length)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for a symbolic link anywhere in the path, and FilesBusy.

    The path was resolved when it was checked. A FIFO or a device that took the file's place blocks nobody.
    """
    return in_time(path, open_regular, path)


def size_and_time(file: BinaryIO) -> tuple[int, int]:
    """Return the size in bytes and the time of the last change in ns of an open file of any host."""
    if isinstance(file, RemoteFile):
        return file.size_and_time()
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file in the caller's thread, which may hang with a file system."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        if Path(f"/proc/self/fd/{descriptor}").readlink() != path:
            raise OSError(f"{path} is now another file")
        return open(path, "rb", opener=lambda *_: descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def send_file(
    file: BinaryIO, *, content_type: str, headers: Mapping[str, str], request_headers: Mapping[str, str]
) -> HttpResponseBase:
    """Return the response with the file, or with the range that the request's headers name.

    The response closes the file. Raises RangeNotSatisfiable.
    """
    size, modified_ns = in_time(Path(file.name), size_and_time, file)
    tag = f'"{size:x}-{modified_ns:x}"'  # which changes with every write
    applies = request_headers.get("If-Range", tag) == tag
    try:
        window = window_of(request_headers.get("Range"), size) if applies else None
    except RangeNotSatisfiable:
        file.close()
        raise
    sent = window or Window(start=0, length=size)
    sent_headers = {**headers, "Accept-Ranges": "bytes", "ETag": tag, "Content-Length": str(sent.length)}
    if window is not None:
        sent_headers["Content-Range"] = f"bytes {sent.start}-{sent.start + sent.length - 1}/{size}"
    return send_window(file, sent, content_type=content_type, headers=sent_headers, status=206 if window else 200)


def send_window(
    file: BinaryIO, window: Window, *, content_type: str, headers: Mapping[str, str], status: int = 200
) -> HttpResponseBase:
    """Return the response with a part of the file: at once if it is small, else in parts."""
    if window.length <= CHUNK_BYTES:
        with file:
            content = in_time(Path(file.name), _read, file, window)
        return HttpResponse(content, status=status, content_type=content_type, headers=dict(headers))
    return streamed(_parts(file, window), file, content_type=content_type, headers=headers, status=status)


def _read(file: BinaryIO, window: Window) -> bytes:
    file.seek(window.start)
    return file.read(window.length)


def streamed(
    parts: AsyncIterator[bytes],
    file: BinaryIO | None = None,
    *,
    content_type: str,
    headers: Mapping[str, str],
    status: int = 200,
) -> StreamingHttpResponse:
    """Return a response made of parts, which holds no thread and no database connection while it is sent.

    Raises FilesBusy when as many are being sent as may be.
    """
    if not _sending.acquire(blocking=False):
        if file is not None:
            file.close()
        raise FilesBusy("this server's roots")
    response = StreamingHttpResponse(parts, status=status, content_type=content_type, headers=dict(headers))
    # Called once, by the closing of the response or by the end of one that nobody has closed.
    response._resource_closers.append(weakref.finalize(response, _sending.release))  # type: ignore[attr-defined]
    if file is not None:
        response._resource_closers.append(file.close)  # type: ignore[attr-defined]
    # Kept until the response ends, the pool's connections would soon all be with slow clients.
    if not connection.in_atomic_block:
        connection.close()
    return response


async def _parts(file: BinaryIO, window: Window) -> AsyncIterator[bytes]:
    with file:
        place = Path(file.name)
        await in_time_async(place, file.seek, window.start)
        left = window.length
        while left and (part := await in_time_async(place, file.read, min(CHUNK_BYTES, left))):
            left -= len(part)
            yield part
