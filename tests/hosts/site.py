"""A site of three hosts, set up as docs/several-hosts.md says: database and web, and two workers."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import psycopg

from absurd_project.local import postgres, unprivileged, valkey
from tests.hosts.network import PATIENCE_SEC, Host, Network

T = TypeVar("T")
NAME = "absurd.example.org"
PASSWORD = "a superuser's"
ABSURD = [sys.executable, "-m", "absurd_project"]
LEASE_SEC = 20


def wait_for(what: str, look: Callable[[], T | None], explain: Callable[[], object] = str) -> T:
    """Return what `look` finds as soon as it finds something; `explain` says why it does not."""
    until = time.monotonic() + PATIENCE_SEC
    while not (found := look()):
        assert time.monotonic() < until, f"waited in vain for {what}: {explain()}"
        time.sleep(0.1)
    return found


class Site:
    """The hosts, their disks, and what runs on them."""

    def __init__(self, directory: Path, network: Network) -> None:
        self.directory, self.network = directory, network
        self.stage, self.var = directory / "mnt" / "stage", directory / "mnt" / "var"
        self.own = directory / "mnt" / "own"
        self.logs = directory / "logs"
        self.secrets = directory / "secrets"
        for place in (self.stage, self.var, self.own, self.logs, self.secrets, directory / "disks" / "stage"):
            place.mkdir(parents=True)
        self.web, self.one, self.two = (network.add(name) for name in ("web", "one", "two"))
        for host in (self.web, self.one, self.two):
            host.mount(self._disk(host, "var"), self.var)
        for host in (self.one, self.two):
            self.mount_stage(host)
            own = self.own_root(host)
            own.mkdir()
            host.mount(self._disk(host, "own"), own)
        self.key = ""
        self._processes: list[tuple[Host, subprocess.Popen[bytes], Path]] = []

    def own_root(self, host: Host) -> Path:
        """Return the data root that only this host has."""
        return self.own / host.name

    def _disk(self, host: Host, name: str) -> Path:
        disk = self.directory / "disks" / host.name / name
        disk.mkdir(parents=True)
        return disk

    def mount_stage(self, host: Host) -> None:
        """Mount the file system that the worker hosts share."""
        host.mount(self.directory / "disks" / "stage", self.stage)

    # What docs/several-hosts.md says.

    def environment(self, host: Host, **more: str) -> dict[str, str]:
        """Return the variables of a host, none of them inherited from the caller."""
        ours = ("ABSURD_", "PYTEST_", "DJANGO_", "SECRET_KEY", "PG", "COV_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        variables = {
            "ABSURD_MODE": "production",
            "ABSURD_ENABLED": "true",
            "ABSURD_VAR": str(self.var),
            "ABSURD_DATABASE_URL_FILE": str(self.secrets / "database_url"),
            "ABSURD_REDIS_URL_FILE": str(self.secrets / "redis_url"),
            "ABSURD_FILES_KEY_FILE": str(self.secrets / "files_key"),
            "ABSURD_LEASE_SEC": str(LEASE_SEC),
            "ABSURD_DIAGNOSTICS": "true",
        }
        if host is self.web:
            variables |= {
                "DJANGO_SETTINGS_MODULE": "absurd_project.settings",
                "SECRET_KEY_FILE": str(self.secrets / "secret_key"),
                "ABSURD_HOSTS": NAME,
                "ABSURD_PROXIES": "127.0.0.1",
            }
        else:
            variables |= {
                "ABSURD_DATA_ROOTS": f"{self.stage}:{self.own_root(host)}",
                "ABSURD_FILES_BIND": f"{host.address}:8001",
            }
        return inherited | {"PYTHONUNBUFFERED": "1"} | variables | more

    def set_up(self) -> None:
        """Start the servers, make roles and schema, and start web, workers and ingest."""
        self._start_postgres()
        self._start_valkey()
        self._secret("files_key", secrets.token_urlsafe(48))
        self._secret("secret_key", secrets.token_urlsafe(60))
        superuser = self.environment(self.web, ABSURD_DATABASE_URL=self.database_url("postgres", PASSWORD))
        roles = self.directory / "roles"
        self.web.run(*ABSURD, "absurd_roles", "--password-directory", str(roles), environment=superuser)
        for role, name in (("absurd_app", "database_url"), ("absurd_owner", "owner_database_url")):
            self._secret(name, self.database_url(role, (roles / role).read_text().strip()))
        owner = {"ABSURD_DATABASE_URL_FILE": str(self.secrets / "owner_database_url")}
        self.web.run(*ABSURD, "absurd_setup", environment=self.environment(self.web, **owner))
        self.web.run(*ABSURD, "absurd_roles", environment=superuser)
        for host in (self.one, self.two):
            self.run(host, "absurd_setup", "--mark-roots-only")
        self.key = (self.directory / "disks" / "web" / "var" / "api_key").read_text().strip()
        daphne = ["-m", "daphne", "-v", "1", "-b", "127.0.0.1", "-p", "8000", "absurd_project.asgi:application"]
        self.start(self.web, "web", sys.executable, *daphne)
        for host in (self.one, self.two):
            sizes = ("--concurrency", "2", "--memory-gb", "24", "--cores", "2")
            self.start(host, f"worker-{host.name}", *ABSURD, "runworker", "--worker-id", f"{host.name}-1", *sizes)
        wait_for("the web", self._web_answers)

    def run(self, host: Host, *command: str) -> str:
        """Run one of the project's commands on a host."""
        return host.run(*ABSURD, *command, environment=self.environment(host))

    def start(self, host: Host, name: str, *command: str) -> None:
        """Start one of the project's processes on a host."""
        log = self.logs / f"{name}.log"
        self._processes.append((host, host.start(command, log, self.environment(host)), log))

    def check_processes(self) -> None:
        """Fail with the end of its log when a process has ended."""
        for host, process, log in self._processes:
            assert process.poll() is None, f"{log.stem} on {host.name} has ended:\n{log.read_text()[-3000:]}"

    def database_url(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{quote(password)}@{self.web.address}:5432/absurd"

    def _secret(self, name: str, value: str) -> None:
        path = self.secrets / name
        path.touch(mode=0o600)
        path.write_text(value + "\n")

    def _start_postgres(self) -> None:
        """Run PostgreSQL as any site's own server: on the network, with passwords."""
        data, binaries = self.directory / "disks" / "web" / "postgres", postgres._binaries()
        launch = unprivileged.launcher("--namespace")
        password = self.directory / "superuser"
        password.write_text(PASSWORD)
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"]
        self.web.run(*launch, *initdb, "--locale=C", f"--pwfile={password}")
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet scram-sha-256\n")
        settings = {"listen_addresses": self.web.address, "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = self.logs / "postgres.log"
        self.web.start([*launch, str(binaries / "postgres"), "-D", str(data), *options], log, os.environ)
        postgres_url = self.database_url("postgres", PASSWORD).replace("/absurd", "/postgres")

        def is_up() -> bool:
            try:
                with psycopg.connect(postgres_url, autocommit=True, connect_timeout=5) as session:
                    session.execute("CREATE DATABASE absurd")
            except psycopg.OperationalError:
                return False
            return True

        wait_for("PostgreSQL", lambda: self.web.do(is_up))

    def _start_valkey(self) -> None:
        password = secrets.token_urlsafe(20)
        options = ["--bind", self.web.address, "--port", "6379", "--requirepass", password, "--save", ""]
        self.web.start([str(valkey._binary()), *options], self.logs / "valkey.log", os.environ)
        self._secret("redis_url", f"redis://:{password}@{self.web.address}:6379/0")

    # What a person or a program does from the web host.

    @property
    def headers(self) -> dict[str, str]:
        """As nginx sends them on."""
        return {"Host": NAME, "X-Forwarded-Proto": "https", "X-API-Key": self.key}

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask the API of the web host."""

        def ask() -> httpx.Response:
            sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
            return httpx.get(f"http://127.0.0.1:8000{path}", headers=sent, timeout=60)

        return self.web.do(ask)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send something to the API of the web host, which must accept it; return its answer."""

        def send() -> httpx.Response:
            return httpx.post(f"http://127.0.0.1:8000{path}", headers=self.headers, json=body, timeout=60)

        answer = self.web.do(send)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def spawn(self, task_name: str, **params: Any) -> str:
        """Spawn a task and return its id."""
        task: dict[str, str] = self.post("/api/absurd/tasks", {"task_name": task_name, "params": params})
        return task["task_id"]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what the database answers."""

        def ask() -> list[tuple[Any, ...]]:
            with psycopg.connect(self.database_url("postgres", PASSWORD), autocommit=True) as session:
                return session.execute(query, values).fetchall()  # type: ignore[arg-type]

        return self.web.do(ask)

    def value(self, query: str, *values: Any) -> Any:
        """Return the first value of the first row, or None."""
        found = self.rows(query, *values)
        return found[0][0] if found else None

    def _web_answers(self) -> bool:
        self.check_processes()
        try:
            return self.get("/healthz").status_code in (200, 503)
        except httpx.TransportError:
            return False

    def state_of(self, host: Host) -> dict[str, Any]:
        """Return what the API says of the worker of a host; nothing before it is registered."""
        workers = self.get("/api/absurd/workers").json()["workers"]
        return next((each for each in workers if each["host"] == host.name), {})

    def end(self) -> None:
        self.network.end()
        shutil.rmtree(self.directory / "disks", ignore_errors=True)


def shown(figures: dict[str, object]) -> str:
    """Return measured figures in one line, to be read in the output of the tests."""
    return f"three hosts: {json.dumps(figures)}"
