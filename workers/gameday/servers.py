"""Stop, kill and bring back the private servers that this process is connected to. Only ever with leave to do so."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from urllib.parse import urlsplit

import psutil
import psycopg
import redis
from django.conf import settings
from django.db import connection

from tasks_app.postgresql import clock
from workers.gameday.drill import Skipped
from workers.gameday.polling import wait_for
from workers.process.environment import CHECKOUT


def postmaster() -> psutil.Process:
    """Return the server process, which must run on this host behind a socket of this state directory.

    Raises Skipped.
    """
    host = connection.settings_dict["HOST"]
    if not host.startswith(str(settings.ABSURD_VAR)) and not host.startswith("/tmp/.abs-"):  # noqa: S108 - a prefix
        raise Skipped("the database is not the private one of the state directory")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        server = psutil.Process(cursor.fetchone()[0]).parent()
    if server is None or server.name() != "postgres":
        raise Skipped("the database's server process is not to be seen from here")
    return server


def stop_postgres(number: signal.Signals) -> None:
    """Stop the server: SIGINT is a fast shutdown, SIGQUIT an immediate stop, as a crash is."""
    server = postmaster()
    connection.close()
    server.send_signal(number)
    wait_for("the end of PostgreSQL", lambda: not _lives(server))


def freeze_postgres(seconds: float) -> None:
    """Let the server and all its processes hang for a while: connections stand, and nothing answers."""
    server = postmaster()
    connection.close()
    server.suspend()  # first: from now on it starts no further process
    processes = [server, *server.children(recursive=True)]
    try:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        time.sleep(seconds)
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def bring_up() -> datetime:
    """Start what is missing; return the moment at which the database answers, by its own clock."""
    subprocess.run(
        [sys.executable, *settings.ABSURD_LOCAL_COMMAND, "servers"],
        cwd=CHECKOUT,
        env=os.environ,
        check=True,
        timeout=120,
    )
    return wait_for("the database", clock.now)


def terminate_backends(application: str) -> int:
    """End the sessions of the drill's own processes, known by their application name; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database() AND pid <> pg_backend_pid()",
            [application],
        )
        return int(cursor.fetchone()[0])


def exhaust_connections(application: str, seconds: float) -> int:
    """For a while take every connection that the server has left and end the drill's own again and again, so that its
    processes find none; return how many were taken. They are all given back."""
    postmaster()
    settings_dict = connection.settings_dict
    parameters = {"host": settings_dict["HOST"], "user": settings_dict["USER"], "dbname": settings_dict["NAME"]}
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        taken = 0
        while time.monotonic() < deadline:
            try:
                stack.enter_context(contextlib.closing(psycopg.connect(**parameters, port=5432)))
                taken += 1
            except psycopg.OperationalError:
                terminate_backends(application)
        return taken


def stop_valkey() -> int:
    """Stop the private Valkey; return its process id. Raises Skipped."""
    path = urlsplit(settings.ABSURD_REDIS_URL)
    if path.scheme != "unix":
        raise Skipped("Valkey is not the private one of the state directory")
    with contextlib.closing(redis.Redis.from_url(settings.ABSURD_REDIS_URL)) as client:
        pid = int(client.info("server")["process_id"])
        server = psutil.Process(pid)
        client.shutdown(nosave=True)
    wait_for("the end of Valkey", lambda: not _lives(server))
    return pid


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
