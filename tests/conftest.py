"""One private server pair a session, in a state directory of its own; one database and prefix a worker.

All of this happens while this file is imported, because Django's settings read the environment once and other
conftests import models. For the same reason pytest-django is not output the settings module: it would load them first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
import pytest_django
from django.conf import settings

from absurd_project.local import liveness, servers
from tests import leftovers, selection

XDIST_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
PREFIX = "absurd-test-"
MUCH_ROLLED_BACK = "dead_rows_warn=1000000000"
"""Tests that roll back a hundred thousand rows leave them behind, which is no illness of the database."""


DJANGO_TASK_MODULES = "tests.tasks_app.django_tasks_backend.django_functions"


def _own_state_directory() -> Path:
    """Return the session's state directory: made by the first process, inherited by xdist's workers."""
    if XDIST_WORKER:
        return Path(os.environ["ABSURD_VAR"])
    for name in [name for name in os.environ if name.startswith("ABSURD_")]:
        del os.environ[name]
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    os.environ["ABSURD_VAR"] = str(directory)
    os.environ["ABSURD_ENABLED"] = "true"
    os.environ["ABSURD_HEALTH"] = MUCH_ROLLED_BACK
    os.environ["ABSURD_DJANGO_TASK_MODULES"] = DJANGO_TASK_MODULES
    # A test may sit in its own transaction for as long as a CASA stage takes.
    os.environ["ABSURD_IDLE_TRANSACTION_SEC"] = "0"
    return directory


def _remove(session: Path) -> None:
    """Stop every server of a session, also those of tests that were killed, and remove its directory."""
    for var in (session, *session.glob("own-*")):
        servers.stop(var)
    shutil.rmtree(session, ignore_errors=True)


def _remove_abandoned() -> None:
    """Clear away what sessions that were killed have left running."""
    for session in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = session.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(FileNotFoundError):  # another session of tests clears away the same
            if pid.isdigit() and not liveness.alive(int(pid)) and session.stat().st_uid == os.geteuid():
                _remove(session)


def _set_django_up() -> None:
    if settings.configured:
        raise pytest.UsageError("unset DJANGO_SETTINGS_MODULE: tests/conftest.py must prepare the environment first")
    os.environ["ABSURD_CHANNEL_PREFIX"] = f"test-{SESSION.name}-{XDIST_WORKER or 'alone'}"
    os.environ["DJANGO_SETTINGS_MODULE"] = "absurd_project.settings"
    django.setup()
    # pytest captures log records itself and shows those of a test that fails.
    logging.getLogger().handlers.clear()
    # Left set, it would make pytest-django load the settings in an xdist worker before the prefix above is made.
    del os.environ["DJANGO_SETTINGS_MODULE"]


def _take_signals_as_usual() -> None:
    """Undo what a caller in the background, or nohup, has had us inherit: what we start gets the usual actions.

    A signal that is ignored stays ignored over exec; one that has a handler is set to its default.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_take_signals_as_usual()
SESSION = _own_state_directory()
_set_django_up()


def pytest_configure(config: pytest.Config) -> None:
    if not XDIST_WORKER and not config.option.collectonly:
        _remove_abandoned()
        servers.ensure(SESSION)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not XDIST_WORKER:
        _remove(SESSION)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    selection.mark(items)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> Iterator[None]:
    """End what sessions are left, of threads and processes of any test, before the test database is removed."""
    yield
    with django_db_blocker.unblock():
        leftovers.end_sessions()


@pytest.fixture
def private_servers() -> Iterator[Path]:
    """Yield the state directory of a running pair that the test owns and may stop or kill."""
    var = Path(tempfile.mkdtemp(prefix="own-", dir=SESSION))
    try:
        servers.ensure(var)
        yield var
    finally:
        servers.stop(var)
        shutil.rmtree(var)


@pytest.fixture
def live_environment(transactional_db: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the environment for a subprocess that works on this worker's test database.

    Whatever still runs in it at the end is killed, and its sessions ended, before the database is emptied.
    """
    database = settings.DATABASES["default"]
    for directory in ("var", "data"):
        (tmp_path / directory).mkdir(exist_ok=True)
    # What numba compiles takes a child half a minute; the children of all tests of the session share it.
    (SESSION / "cache").mkdir(exist_ok=True)
    (tmp_path / "var" / "cache").symlink_to(SESSION / "cache")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ABSURD_", "PYTEST_"))}
    yield inherited | {
        "ABSURD_MODE": "local",
        "ABSURD_ENABLED": "true",
        "ABSURD_HEALTH": MUCH_ROLLED_BACK,
        "ABSURD_DJANGO_TASK_MODULES": DJANGO_TASK_MODULES,
        "ABSURD_VAR": str(tmp_path / "var"),
        "ABSURD_CASA_DATA": str(SESSION / "casa-data"),
        "ABSURD_DATA_ROOTS": str(tmp_path / "data"),
        "ABSURD_DATABASE_URL": f"postgresql://postgres@:5432/{database['NAME']}?host={database['HOST']}",
        "ABSURD_REDIS_URL": settings.ABSURD_REDIS_URL,
        "ABSURD_CHANNEL_PREFIX": os.environ["ABSURD_CHANNEL_PREFIX"],
        "PGAPPNAME": leftovers.SESSION_NAME,
    }
    leftovers.end(f"ABSURD_VAR={tmp_path / 'var'}")
