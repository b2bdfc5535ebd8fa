"""A file of another host, read from a worker there over HTTP; each request is signed for one address and path.

The signature is an HMAC-SHA256 (RFC 2104) of the end of its validity, the address and the path, under a secret that all
hosts share. It travels over plain HTTP: it proves who asks, and hides nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import io
import time
from typing import Any
from urllib.parse import quote

PREFIX = "/files"
SIGNATURE, SIZE, MODIFIED = "X-Absurd-Signature", "X-Absurd-Size", "X-Absurd-Modified-Ns"
VALID_SEC = 60.0
"""How long a signature is valid, and by how much the clocks of two hosts may differ."""
ANSWER_SEC = 5.0
"""How long a connection, an answer or a part of it may take."""


class NotFetched(OSError):
    """The file cannot be had from its host; the text says why, as the end of a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


def target_of(path: str) -> str:
    """Return the target of the request for a path."""
    return PREFIX + quote(path)


def sign(key: str, address: str, target: str, moment: float) -> str:
    """Return a signature that is valid from now on for VALID_SEC."""
    until = int(moment + VALID_SEC)
    return f"{until}.{_digest(key, address, target, until)}"


def is_signed(signature: str, key: str, address: str, target: str, moment: float) -> bool:
    """Return whether the signature is right and valid at the moment."""
    until, _, digest = signature.partition(".")
    if not (until.isascii() and until.isdigit() and len(until) < 20):
        return False
    expected = _digest(key, address, target, int(until))
    in_time = moment < int(until) <= moment + 2 * VALID_SEC
    return hmac.compare_digest(digest.encode(), expected.encode()) and in_time


def _digest(key: str, address: str, target: str, until: int) -> str:
    return hmac.new(key.encode(), f"{until}\n{address}\n{target}".encode(), hashlib.sha256).hexdigest()


class RemoteFile(io.RawIOBase):
    """A file of another host, to be read and sought like one of this host. Every call raises NotFetched."""

    def __init__(self, *, host: str, address: str, path: str, key: str) -> None:
        self.name = f"//{host}{path}"
        self._address, self._target, self._key = address, target_of(path), key
        self._connection = http.client.HTTPConnection(address, timeout=ANSWER_SEC)
        self._place = 0
        try:
            self.size_and_time()
        except BaseException:
            self.close()
            raise

    def size_and_time(self) -> tuple[int, int]:
        """Return its size in bytes, and the time of its last change in ns, as they are now."""
        answer, _ = self._request("HEAD", {}, 0)
        try:
            return int(answer.headers[SIZE]), int(answer.headers[MODIFIED])
        except (KeyError, TypeError, ValueError):
            raise NotFetched(f"what answers at {self._address} is no worker of this system") from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}
        self._place = offset + (start[whence] if whence in start else self.size_and_time()[0])
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        window = f"bytes={self._place}-{self._place + len(view) - 1}"
        _, content = self._request("GET", {"Range": window}, len(view))
        view[: len(content)] = content
        self._place += len(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._connection.close()
        super().close()

    def _request(self, method: str, headers: dict[str, str], most_bytes: int) -> tuple[http.client.HTTPResponse, bytes]:
        signed = {SIGNATURE: sign(self._key, self._address, self._target, time.time()), **headers}
        reused = self._connection.sock is not None
        try:
            answer, content = self._answer(method, signed)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if not reused:
                raise NotFetched(f"its worker at {self._address} does not answer: {_words(error)}") from error
            # The worker has closed a connection that was idle for too long.
            return self._request(method, headers, most_bytes)
        if method == "HEAD" and answer.status != http.client.OK:  # the answer to a GET has a text
            return self._request("GET", {"Range": "bytes=0-0"}, 1)
        if answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return answer, b""
        if answer.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
            raise NotFetched(_reason(answer, content))
        if len(content) > most_bytes:
            raise NotFetched(f"its worker at {self._address} sent more than was asked for")
        return answer, content

    def _answer(self, method: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, self._target, headers=headers)
        answer = self._connection.getresponse()
        return answer, answer.read()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _reason(answer: http.client.HTTPResponse, content: bytes) -> str:
    if answer.status == http.client.UNAUTHORIZED:
        return "its worker refuses the signature: ABSURD_FILES_KEY must be the same on all hosts, their clocks in step"
    said = content.decode(errors="replace").partition("\n")[0][:200] or answer.reason
    return f"its worker answers {answer.status}: {said}"
