"""Files sent over HTTP: whole or a range of bytes, in parts, so that neither memory nor other requests suffer."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from tasks_app.errors import RangeNotSatisfiable

CHUNK_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")


@dataclass(frozen=True, kw_only=True)
class Window:
    """So many bytes of a file from a place on."""

    start: int
    length: int


def window_of(header: str | None, size: int) -> Window | None:
    """Return what a Range header asks for of so many bytes; None where the whole is to be sent.

    Several ranges, other units and nonsense count as no range, as HTTP has it. Raises RangeNotSatisfiable.
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
    """Open a file for reading, but no symbolic link: whoever checked the path resolved it before. Raises OSError."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def tag_of(file: BinaryIO) -> str:
    """Return an ETag that changes whenever the file is written."""
    status = os.fstat(file.fileno())
    return f'"{status.st_size:x}-{status.st_mtime_ns:x}"'


def send_file(
    file: BinaryIO, *, content_type: str, headers: Mapping[str, str], asked: Mapping[str, str]
) -> HttpResponseBase:
    """Return the response with the file, or with the range of it that the request's headers ask for.

    The response closes the file. Raises RangeNotSatisfiable.
    """
    size, tag = os.fstat(file.fileno()).st_size, tag_of(file)
    meant = asked.get("If-Range", tag) == tag
    try:
        window = window_of(asked.get("Range"), size) if meant else None
    except RangeNotSatisfiable:
        file.close()
        raise
    sent = window or Window(start=0, length=size)
    told = {**headers, "Accept-Ranges": "bytes", "ETag": tag, "Content-Length": str(sent.length)}
    if window is not None:
        told["Content-Range"] = f"bytes {sent.start}-{sent.start + sent.length - 1}/{size}"
    return send_window(file, sent, content_type=content_type, headers=told, status=206 if window else 200)


def send_window(
    file: BinaryIO, window: Window, *, content_type: str, headers: Mapping[str, str], status: int = 200
) -> HttpResponseBase:
    """Return the response with a part of the file: at once if it is small, else in parts."""
    if window.length <= CHUNK_BYTES:
        with file:
            file.seek(window.start)
            content = file.read(window.length)
        return HttpResponse(content, status=status, content_type=content_type, headers=dict(headers))
    return streamed(_parts(file, window), file, content_type=content_type, headers=headers, status=status)


def streamed(
    parts: AsyncIterator[bytes],
    file: BinaryIO | None = None,
    *,
    content_type: str,
    headers: Mapping[str, str],
    status: int = 200,
) -> StreamingHttpResponse:
    """Return a response made of parts, which holds no thread and no database connection while it is sent."""
    response = StreamingHttpResponse(parts, status=status, content_type=content_type, headers=dict(headers))
    if file is not None:
        response._resource_closers.append(file.close)  # type: ignore[attr-defined]
    # Kept until the response ends, the pool's connections would soon all be with slow clients.
    if not connection.in_atomic_block:
        connection.close()
    return response


async def _parts(file: BinaryIO, window: Window) -> AsyncIterator[bytes]:
    with file:
        await asyncio.to_thread(file.seek, window.start)
        left = window.length
        while left and (part := await asyncio.to_thread(file.read, min(CHUNK_BYTES, left))):
            left -= len(part)
            yield part
