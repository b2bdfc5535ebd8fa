"""The process in which a handler runs: ``python -m workers.child``, started by the guardian, used once.

It has no Django, no database and no secret. Standard output and error are the attempt's log already.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tasks_app.handler import DirectoryContext
from workers import protocol, severe
from workers.pace import Pace
from workers.protocol import Failure, Progress, Reply, Request, Result
from workers.running import plain_result, product_notes, run_handler
from workers.stacks import STACK_FD


class Channel:
    """The pipe to the worker."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: Progress | Result | Failure) -> None:
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
    request_fd, reply_fd = int(os.environ.pop(protocol.REQUEST_FD)), int(os.environ.pop(protocol.REPLY_FD))
    os.set_inheritable(reply_fd, False)
    stack_fd = int(os.environ.pop(STACK_FD))
    os.set_inheritable(stack_fd, False)
    faulthandler.enable(stack_fd, all_threads=True)
    faulthandler.register(signal.SIGUSR1, stack_fd, all_threads=True)
    with os.fdopen(request_fd, "rb") as stream:
        request = Request.model_validate_json(stream.read())
    channel = Channel(reply_fd)
    channel.send(execute(request, ChildContext(request, channel)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


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

    reply = run_handler(request.handler, request.params, context, finish)
    context.finish_reporting()
    if isinstance(reply, Failure):
        sys.stderr.write(reply.traceback)
    return reply


if __name__ == "__main__":
    main()
