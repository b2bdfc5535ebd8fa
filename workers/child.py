"""The process in which a handler runs: ``python -m workers.child``, started by the guardian, used once.

It has no Django, no database and no secret. Started as a spare it first imports what the module named in its
environment imports, whose `hand_over` is called when there is an attempt.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import importlib
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tasks_app import calling
from tasks_app.handler import DirectoryContext
from workers import confinement, inputs, protocol, severe
from workers.pace import Pace
from workers.protocol import Begun, Failure, Progress, Ready, Reply, Request, Result, Said
from workers.running import plain_result, product_notes, run_handler
from workers.stacks import STACK_FD

DENIED = os.strerror(errno.EACCES)


class Channel:
    """The pipe to the worker."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: Said) -> None:
        """Write one whole line, whichever thread calls."""
        line = memoryview(protocol.encode(message))
        with self._lock:
            while line:
                line = line[os.write(self._fd, line) :]


class ChildContext(DirectoryContext):
    """The context given to the handler: progress goes to the worker and into the log."""

    def __init__(self, request: Request, channel: Channel) -> None:
        super().__init__(
            attempt_dir=Path(request.attempt_dir),
            published_dir=Path(request.published_dir),
            task_id=request.task_id,
            attempt=request.attempt,
            task_name=request.task_name,
            data_roots=[Path(root) for root in request.data_roots],
            cores=request.cores,
            memory_gb=request.memory_gb,
        )
        self._channel = channel
        self._pace = Pace(self._tell)

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        self._pace.report(fraction, message, metrics)

    def finish_reporting(self) -> None:
        """Pass on what was reported last."""
        self._pace.flush()

    def _tell(self, fraction: float | None, message: str, metrics: Mapping[str, float]) -> None:
        super().progress(fraction, message)
        self._channel.send(Progress.of(fraction, message, metrics))


def main() -> NoReturn:
    """Run the one request and end without Python's and CASA's tear-down, in which finished work can still crash."""
    request_fd, reply_fd, stack_fd = (
        int(os.environ.pop(n)) for n in (protocol.REQUEST_FD, protocol.REPLY_FD, STACK_FD)
    )
    for fd in (request_fd, reply_fd, stack_fd):
        os.set_inheritable(fd, False)
    faulthandler.enable(stack_fd, all_threads=True)
    faulthandler.register(signal.SIGUSR1, stack_fd, all_threads=True)
    channel = Channel(reply_fd)
    warm = os.environ.pop(protocol.WARM, "")
    module = importlib.import_module(warm) if warm else None
    if module is not None:
        channel.send(Ready(pid=os.getpid()))
    request = receive(request_fd)
    began_in = str(Path.cwd())
    settle_in(request)
    if module is not None:
        module.hand_over()
    channel.send(Begun())
    confine(request, began_in)
    channel.send(execute(request, ChildContext(request, channel)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def receive(fd: int) -> Request:
    """Wait for the request, and let all output go to the attempt's log from then on; without one, end."""
    with socket.socket(fileno=fd) as pipe:
        _, fds, _, _ = socket.recv_fds(pipe, 16, 2)
    if len(fds) != 2:
        os._exit(0)
    request_fd, log_fd = fds
    for standard in (1, 2):
        os.dup2(log_fd, standard)
    os.close(log_fd)
    with os.fdopen(request_fd, "rb") as stream:
        return Request.model_validate_json(stream.read())


def settle_in(request: Request) -> None:
    """Work where the attempt works; what was loaded before keeps nothing of an earlier place."""
    os.environ.update(request.environment)
    tempfile.tempdir = None
    os.chdir(Path(request.attempt_dir) / "scratch")


def confine(request: Request, began_in: str) -> None:
    """Have the kernel refuse writes elsewhere, once the handler is imported: Python may store what it compiles.

    A spare keeps the directory that it began in.
    """
    if request.writable is None:
        return
    with contextlib.suppress(BaseException):  # said again when it is called
        calling.load(request.handler)
    try:
        confinement.enter([*request.writable, began_in])
    except OSError as error:
        sys.stderr.write(f"the kernel does not confine this attempt: {error}\n")


def execute(request: Request, context: ChildContext) -> Reply:
    """Run the handler and say how it went; raises nothing."""
    log = Path(request.log_path)
    begun_at = log.stat().st_size if log.is_file() else 0

    def finish(outcome: object) -> Result:
        # Tools that the handler let go of close their tables now, before anything is summed.
        gc.collect()
        if request.benign_severe is not None:
            severe.refuse(log, request.benign_severe, offset=begun_at)
        return Result(result=plain_result(outcome), products=product_notes(context))

    given = inputs.find(request.params if request.watch_inputs else {}, context.attempt_dir)
    for path in given.unwatched:
        sys.stderr.write(f"input {path} has more than {inputs.FILES_MOST} files, which are not watched for changes\n")
    reply = run_handler(request.handler, request.params, context, finish)
    context.finish_reporting()
    if changed := given.changed():
        reply = inputs.refuse(reply, changed)
    elif isinstance(reply, Failure) and request.writable is not None and DENIED in reply.message:
        reply = reply.model_copy(update={"message": f"{reply.message} ({confinement.HINT})"})
    if isinstance(reply, Failure):
        sys.stderr.write(reply.traceback)
    return reply


if __name__ == "__main__":
    main()
