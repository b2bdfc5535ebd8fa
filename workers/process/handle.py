"""The pipes between the worker and one guardian with its child, which get an attempt at once, or later as a spare."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from workers.process import environment, guardian, process_tree, protocol, resources, stacks
from workers.process.protocol import Request
from workers.process.resources import Usage

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


class ChildHandle:
    """One guardian and one child.

    `mark` is what their environment carries, to find its processes by when the guardian has been killed; what they
    print before they are given an attempt goes to `log_fd`; a spare imports the module `warm` first. Raises OSError.
    """

    def __init__(
        self, *, mark: str, cores: int, scratch: Path, log_path: Path, log_fd: int, warm: str | None = None
    ) -> None:
        self.mark = mark
        self.was_spare = warm is not None
        self.base = Usage()
        """What had been used before the attempt."""
        request_socket, childs_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reply_read, reply_write = os.pipe()
        handed = (childs_socket.fileno(), reply_write)
        own = environment.of_child(mark=mark, cores=cores, scratch=scratch, log_path=log_path, var=settings.ABSURD_VAR)
        # Until it ignores them, a signal meant for the worker must not end the guardian: it inherits the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, guardian.STOP_SIGNALS)
        try:
            self.guardian: subprocess.Popen[bytes] = subprocess.Popen(
                [*guardian.COMMAND, *map(str, handed), str(scratch), str(settings.ABSURD_LOG_MAX_MB << 20)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_fd,
                bufsize=0,
                pass_fds=handed,
                start_new_session=True,
                cwd=scratch,
                env=own | ({protocol.WARM: warm} if warm else {}),
            )
        except OSError:
            os.close(reply_read)
            request_socket.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(reply_write)
            childs_socket.close()
        assert self.guardian.stdout is not None  # noqa: S101 - it is a pipe, as asked for above
        self._request_socket = request_socket
        self.replies, self.reports = Lines(reply_read), Lines(self.guardian.stdout.fileno())

    def give(self, request: Request, log_fd: int) -> None:
        """Give the child its attempt. Raises OSError when it cannot take it any more.

        The request goes in a file in memory: a pipe would block when the params are large.
        """
        fd = os.memfd_create("request")
        try:
            with os.fdopen(os.dup(fd), "wb") as stream:
                stream.write(request.model_dump_json().encode())
            os.lseek(fd, 0, os.SEEK_SET)
            if self.was_spare:
                self.base = resources.measure(self.guardian.pid)
                adopt = {"log": request.log_path, "scratch": f"{request.attempt_dir}/scratch"}
                self.command(f"adopt {json.dumps(adopt)}")
            socket.send_fds(self._request_socket, [b"run"], [fd, log_fd], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        finally:
            os.close(fd)

    def command(self, text: str) -> None:
        """Send a command to the guardian, which may have ended."""
        if self.guardian.stdin is not None and not self.guardian.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.guardian.stdin.write(f"{text}\n".encode())

    def measure(self) -> Usage:
        """Return what has been used since it was given its attempt, and the memory held now."""
        return resources.measure(self.guardian.pid).since(self.base)

    def survivors(self) -> list[str]:
        """Return what still lives below the guardian: pid, state, place in the kernel and name of each."""
        alive = sorted(process_tree.descendants(self.guardian.pid))
        lines = [line for pid in alive if (line := stacks.wait_of(f"/proc/{pid}"))]
        # One may have become a zombie since it was found.
        return [line for line in lines if line.split()[1] != "Z"]

    def close(self) -> None:
        """Close the pipes, at which the guardian ends all processes and cleans up; `reap` waits for it."""
        os.close(self.replies.fd)
        self._request_socket.close()
        for pipe in (self.guardian.stdin, self.guardian.stdout):
            if pipe is not None:
                pipe.close()
        _closed.append(self.guardian)


_closed: list[subprocess.Popen[bytes]] = []
"""Guardians that may still clean up, of all threads."""


def reap(wait_sec: float = 0.0) -> None:
    """Reap the guardians that have ended, waiting so long for the others; they may outlive this process."""
    deadline = time.monotonic() + wait_sec
    for ended in list(_closed):
        with contextlib.suppress(subprocess.TimeoutExpired):
            ended.wait(max(0.0, deadline - time.monotonic()))
            _closed.remove(ended)
