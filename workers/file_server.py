"""Logs and products of this host's attempts, served to hosts that have the key. Nothing else can be fetched.

All workers of a host may serve at the same address: the kernel gives each connection to one of them.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import BinaryIO
from urllib.parse import unquote

from django.conf import settings

from tasks_app.errors import FilesBusy, RangeNotSatisfiable
from tasks_app.files import remote
from tasks_app.files.bounded_calls import in_time
from tasks_app.files.http_streaming import Window, open_regular, size_and_time, window_of
from workers.process import publication

AGAIN_SEC = 10.0
"""After this time a server that could not be started is tried again."""
IDLE_SEC = 30.0
CONNECTIONS_MOST = 16
PATH_CHARS_MOST = 4096

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The request is answered with a status and a line of text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def found(target: str) -> BinaryIO:
    """Open the file that the target of a request names. Raises Refused."""
    path = Path(unquote(target.removeprefix(remote.PREFIX)))
    if not (target.startswith(f"{remote.PREFIX}/") and len(target) <= PATH_CHARS_MOST) or "\0" in str(path):
        raise Refused(404, "no such address")
    try:
        return in_time(path, _open, path)
    except FilesBusy as error:
        raise Refused(503, str(error)) from None
    except IsADirectoryError:
        raise Refused(404, f"{path} is a directory; only files can be fetched from another host") from None
    except (OSError, ValueError, RuntimeError):
        raise Refused(404, f"{path} is not there any more, or is not a file of an attempt") from None


def _open(path: Path) -> BinaryIO:
    resolved = path.resolve(strict=True)
    if not (publication.is_log(resolved) or publication.is_published(resolved)):
        raise FileNotFoundError(path)
    if resolved.is_dir():
        raise IsADirectoryError(path)
    return open_regular(resolved)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "absurd", ""
    timeout = IDLE_SEC
    server: FileServer

    def do_HEAD(self) -> None:
        self._answer(self._send_size)

    def do_GET(self) -> None:
        self._answer(self._send_content)

    def _answer(self, send: Callable[[BinaryIO], None]) -> None:
        try:
            signature = self.headers.get(remote.SIGNATURE, "")
            key, address = settings.ABSURD_FILES_KEY, settings.ABSURD_FILES_BIND
            if not remote.is_signed(signature, key, address, self.path, time.time()):
                raise Refused(401, "the signature is not valid")
            with found(self.path) as file:
                send(file)
        except Refused as error:
            self._send_head(error.status, len(body := f"{error}\n".encode()), {"Content-Type": "text/plain"})
            if self.command != "HEAD":
                self.wfile.write(body)

    def _send_size(self, file: BinaryIO) -> None:
        self._send_head(200, size_and_time(file)[0], _measures(file))

    def _send_content(self, file: BinaryIO) -> None:
        size = size_and_time(file)[0]
        try:
            window = window_of(self.headers.get("Range"), size)
        except RangeNotSatisfiable:
            raise Refused(416, f"the file has {size} bytes") from None
        sent = window or Window(start=0, length=size)
        self._send_head(206 if window else 200, sent.length, _measures(file))
        if sent.length:
            self.wfile.flush()
            self.connection.sendfile(file, sent.start, sent.length)

    def _send_head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), "Cache-Control": "no-store", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        logger.debug("files: " + format, *args)


def _measures(file: BinaryIO) -> dict[str, str]:
    size, modified_ns = size_and_time(file)
    return {
        "Content-Type": "application/octet-stream",
        remote.SIZE: str(size),
        remote.MODIFIED: str(modified_ns),
    }


class FileServer(ThreadingHTTPServer):
    """Serves each connection in a thread, few at a time."""

    daemon_threads = True
    allow_reuse_port = True

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._places = threading.BoundedSemaphore(CONNECTIONS_MOST)
        super().__init__((host, int(port)), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # without HTTPServer's look for a name of the address, which may hang

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        if isinstance(request, socket.socket):
            request.setblocking(False)
            request.send(busy)
        self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        logger.debug("a request for a file from %s failed", client_address, exc_info=True)


def start(when_bound: Callable[[str], None]) -> None:
    """Serve files in a daemon thread if ABSURD_FILES_BIND is set; call back with the address once it is bound."""
    if settings.ABSURD_FILES_BIND:
        threading.Thread(
            target=_serve, args=(settings.ABSURD_FILES_BIND, when_bound), name="files", daemon=True
        ).start()


def _serve(address: str, when_bound: Callable[[str], None]) -> None:
    said = ""
    while True:
        try:
            server = FileServer(address)
        except OSError as error:
            if str(error) != said:
                said = str(error)
                logger.warning("files cannot be served at %s, next try in %g s: %s", address, AGAIN_SEC, error)
            time.sleep(AGAIN_SEC)
            continue
        when_bound(address)
        server.serve_forever()
