"""`manage.py absurd_up`: the whole system on this machine, kept running until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper

from absurd_project import accounts
from absurd_project.local import liveness, servers
from absurd_project.local.output import LogFiles, PrefixedLines
from absurd_project.local.state import STACK_SEC, AlreadyRunning, running, stop_running
from absurd_project.local.supervisor import CHECKOUT, POLL_SEC, PortBusy, Stack, check_port, default_processes, is_open
from absurd_project.local.unprivileged import launcher
from tasks_app.management.arguments import whole
from tasks_app.management.output import PrintingCommand

USAGE = 2
DETACHED_START_SEC = 120.0


class Command(PrintingCommand):
    """Runs web, two workers and ingest under one supervisor."""

    help = "Run web, two workers and ingest; restart processes that end; stop all on Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=whole(1, 65535), default=settings.ABSURD_PORT, help="port of the web server")
        parser.add_argument("--detach", action="store_true", help="run in the background; absurd_down stops it")

    def handle(self, *args: Any, **options: Any) -> None:
        port, var = options["port"], settings.ABSURD_VAR
        try:
            self._refuse_if_taken(port, var)
            if options["detach"]:
                self._detach(port, var)
                return
            # Not before the port is known to be free: a refusal leaves no servers behind.
            servers.ensure(var)
            call_command("absurd_setup", stdout=self.stdout)
            connection.close()
            cast(DatabaseWrapper, connection).close_pool()
            self._run(port, var)
        finally:
            if not options["detach"]:
                servers.stop_started(var)

    def _refuse_if_taken(self, port: int, var: Path) -> None:
        pid = running(var)
        try:
            if pid is not None:
                raise AlreadyRunning(var, pid)
            check_port(port, settings.ABSURD_BIND)
        except (AlreadyRunning, PortBusy) as refusal:
            raise CommandError(str(refusal), returncode=USAGE) from refusal

    def _run(self, port: int, var: Path) -> None:
        incoming = var / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        processes = default_processes(port, incoming, settings.ABSURD_BIND)
        names = [*(process.name for process in processes), "stack"]
        output = PrefixedLines(names, sys.stdout, logs=LogFiles(var / "log"))
        stack = Stack(processes, var=var, output=output)
        stop_requested = threading.Event()

        def on_signal(_number: int, _frame: object) -> None:
            if stop_requested.is_set():
                stack.kill()
            stop_requested.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, on_signal)
        try:
            with stack:
                self._greet_when_open(stack, port, var, stop_requested)
                stack.run(stop_requested)
                output.write_line("stack", "stopping")
        except AlreadyRunning as refusal:
            raise CommandError(str(refusal), returncode=USAGE) from refusal

    def _greet_when_open(self, stack: Stack, port: int, var: Path, stop_requested: threading.Event) -> None:
        while not is_open(port, settings.ABSURD_BIND):
            if stop_requested.wait(POLL_SEC):
                return
            stack.poll()
        for line in self._greeting(port, var):
            stack.output.write_line("stack", line)

    def _greeting(self, port: int, var: Path) -> list[str]:
        address = f"[{settings.ABSURD_BIND}]" if ":" in settings.ABSURD_BIND else settings.ABSURD_BIND
        return [
            f"console   http://{address}:{port}/admin/",
            f"login     user {accounts.OPERATOR}, password in {accounts.password_file(var)}",
            f"API       http://{address}:{port}/api/absurd/  (X-API-Key in {accounts.api_key_file(var)})",
            f"incoming  {var / 'incoming'}",
        ]

    def _detach(self, port: int, var: Path) -> None:
        log = var / "log" / "up.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        supervise = [sys.executable, "-m", "absurd_project", "absurd_up", "--port", str(port)]
        argv = [*launcher("--detach", str(log)), *supervise]
        started = subprocess.run(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True)
        pid, deadline = int(started.stdout), time.monotonic() + DETACHED_START_SEC
        while not is_open(port, settings.ABSURD_BIND):
            if time.monotonic() > deadline or not liveness.alive(pid):
                stop_running(var, STACK_SEC)
                raise CommandError(f"the stack did not start; see {log}")
            time.sleep(POLL_SEC)
        for line in self._greeting(port, var):
            self.stdout.write(line)
