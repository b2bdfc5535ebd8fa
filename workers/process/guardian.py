"""Runs one child and leaves no process behind: not when it ends, nor when it is stopped, nor when the worker dies.

Started by ``COMMAND REQUEST_FD REPLY_FD SCRATCH LOG_BYTES`` in a session of its own, without site-packages, so that it
is small and soon there. Standard input is a pipe whose other end only the worker holds: a line ``stop SECONDS`` or
``kill`` is a command, ``adopt JSON`` names log and scratch of a spare's attempt, end of file: the worker is gone.
Standard output takes JSON lines for the worker, standard error is the attempt's log. As child subreaper the guardian
inherits every orphan of the attempt, also those that called setsid.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time

from workers.process.bounded_log import BoundedLog
from workers.process.process_tree import descendants, send
from workers.process.stacks import STACK_FD, Stacks

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
COMMAND = (
    sys.executable,
    "-IS",
    "-c",
    "import sys; sys.path.append(sys.argv.pop(1)); from workers.process.guardian import main; main()",
    CHECKOUT,
)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What service managers, terminals and `docker stop` send, often to all processes of a worker together."""
CHILD_OOM_SCORE = "500"
"""When memory runs out the kernel should take the child, not the worker or the database."""
REAP_EVERY_SEC = 1.0
BUSY_LOG_SEC = 0.05
BLOCK_BYTES = 512
KILL_LIMIT_SEC = 10.0
"""A process in uninterruptible sleep may outlive SIGKILL; the report is not held back for longer than this."""

libc = ctypes.CDLL(None, use_errno=True)


class Guardian:
    """Watches over one child until it and all its descendants are gone."""

    def __init__(self, request_fd: int, reply_fd: int, scratch: str, log_bytes_most: int) -> None:
        self._stacks = Stacks()
        self._fds = {"ABSURD_REQUEST_FD": request_fd, "ABSURD_REPLY_FD": reply_fd, STACK_FD: self._stacks.fd}
        self._scratches = [scratch]
        self._log_bytes_most = log_bytes_most
        self._log = BoundedLog(2, log_bytes_most)
        self._log_is_busy = False
        self._partial = b""
        self._status: int | None = None
        self._kill_at: float | None = None
        self._peak_rss_bytes = 0
        self.child = 0

    def start(self) -> None:
        """Start the child by fork and exec; this process has a single thread and has loaded nothing native."""
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # A stopped guardian would not notice that the worker has died: the kernel continues it then.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        self._claim_scratch()
        me = os.getpid()
        self.child = os.fork()
        if self.child == 0:
            try:
                self._become_child(me)
            except BaseException as error:
                log(f"the child could not be started: {error}\n".encode())
            finally:
                os._exit(127)
        for name, fd in self._fds.items():
            if name != STACK_FD:
                os.close(fd)
        send_report({"type": "started", "pid": self.child})

    def _claim_scratch(self) -> None:
        """Hold a lock on the scratch directory, by which a sweep knows that this process lives."""
        try:
            fcntl.flock(os.open(self._scratches[0], os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return

    def _become_child(self, guardian: int) -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guardian:
            os._exit(127)
        os.setsid()
        # SIGTERM is how this process asks the child to end. SIGINT and SIGHUP stay ignored: who sends them to all
        # processes of a worker drains it, and the attempt may finish.
        for number in (signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        # Until faulthandler has it, a request for the stacks must not kill the child.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        with open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 - pathlib would be loaded for this alone
            score.write(CHILD_OOM_SCORE)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        for fd in self._fds.values():
            os.set_inheritable(fd, True)
        os.chdir(self._scratches[0])
        named = {name: str(fd) for name, fd in self._fds.items()}
        os.execve(sys.executable, [sys.executable, "-P", "-m", "workers.process.child"], os.environ | named)  # noqa: S606

    def watch(self) -> None:
        """Return when the child has ended, having carried out the commands of the worker in the meantime."""
        poller = select.poll()
        poller.register(0, select.POLLIN)
        poller.register(os.pidfd_open(self.child), select.POLLIN)
        while self._status is None:
            for fd, _ in poller.poll(1000 * self._wait_sec()):
                if fd == 0 and not self._read_commands():
                    poller.unregister(0)
            self._reap()
            self._log_is_busy = self._log.trim()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self.kill_all()

    def _wait_sec(self) -> float:
        look_sec = BUSY_LOG_SEC if self._log_is_busy else REAP_EVERY_SEC
        if self._kill_at is None:
            return look_sec
        return min(look_sec, max(0.0, self._kill_at - time.monotonic()))

    def _read_commands(self) -> bool:
        commands = os.read(0, 1 << 16)
        if not commands:
            self._kill_at = time.monotonic()
            return False
        *whole, self._partial = (self._partial + commands).split(b"\n")
        for command in whole:
            word, _, rest = command.decode().partition(" ")
            if word == "kill":
                self._kill_at = time.monotonic()
            elif word == "stop" and self._kill_at is None:
                self._ask_to_end()
                self._kill_at = time.monotonic() + float(rest)
            elif word == "adopt":
                self._adopt(**json.loads(rest))
        return True

    def _adopt(self, log: str, scratch: str) -> None:
        """Look after the attempt that the spare was given."""
        self._scratches.append(scratch)
        try:
            fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return
        os.dup2(fd, 2, inheritable=False)
        os.close(fd)
        self._log = BoundedLog(2, self._log_bytes_most)

    def _ask_to_end(self) -> None:
        """Have the child write the stacks of its threads, then ask all processes to end."""
        alive = descendants(os.getpid())
        self._stacks.request(self.child, alive)
        self._log_stacks()
        for pid in alive:
            send(pid, signal.SIGTERM)

    def _log_stacks(self) -> None:
        if text := self._stacks.unlogged():
            log(b"\nstacks of the attempt's threads:\n" + text)

    def kill_all(self) -> int:
        """Kill every descendant and return how many there were besides the child.

        They are all stopped first, round after round, so that none can fork while the others are being killed.
        """
        met: set[int] = set()
        limit = time.monotonic() + KILL_LIMIT_SEC
        while (alive := descendants(os.getpid())) and time.monotonic() < limit:
            if fresh := alive - met:
                for pid in fresh:
                    send(pid, signal.SIGSTOP)
                met |= fresh
                continue
            for pid in alive:
                send(pid, signal.SIGKILL)
            self._reap()
            time.sleep(0.005)
        self._reap()
        return len(met - {self.child})

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._peak_rss_bytes = max(self._peak_rss_bytes, usage.ru_maxrss * 1024)
            if pid == self.child:
                self._status = status

    def report(self, orphans: int) -> None:
        """Report to the worker how the child ended and what the attempt used."""
        import resource

        self._log_stacks()
        self._log.finish()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = os.waitstatus_to_exitcode(self._status) if self._status is not None else None
        send_report(
            {
                "type": "exited",
                "exit_code": code if code is not None and code >= 0 else None,
                "signal": -code if code is not None and code < 0 else None,
                "peak_rss_bytes": self._peak_rss_bytes,
                "cpu_sec": usage.ru_utime + usage.ru_stime,
                "read_bytes": usage.ru_inblock * BLOCK_BYTES,
                "write_bytes": usage.ru_oublock * BLOCK_BYTES,
                "orphans": orphans,
                "core_dumped": self._status is not None and os.WCOREDUMP(self._status),
                "stack": self._stacks.text(),
            }
        )

    def remove_scratch(self) -> None:
        """Remove what is needed no longer; here, because it may take long and the worker must not wait."""
        import shutil

        os.chdir("/")
        for scratch in self._scratches:
            shutil.rmtree(scratch, ignore_errors=True)


def log(text: bytes) -> None:
    """Write into the attempt's log, which a full disk may refuse."""
    try:
        os.write(2, text)
    except OSError:
        return


def send_report(message: dict[str, object]) -> None:
    """Write one line to the worker, which may be dead."""
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        return


def main() -> None:
    """Guard one child from start to end."""
    request_fd, reply_fd, scratch, log_bytes_most = sys.argv[1:]
    guardian = Guardian(int(request_fd), int(reply_fd), scratch, int(log_bytes_most))
    guardian.start()
    guardian.watch()
    guardian.report(guardian.kill_all())
    guardian.remove_scratch()
