"""A crash between the rename of products and the commit that makes them a publication."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.workers.live import attempts, finished, outcomes, spawn_one, wait_for
from tests.workers.test_child import run
from workers import cleanup
from workers.process.protocol import Result

pytestmark = pytest.mark.chaos

SLOW_COMMIT = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER be_slow BEFORE UPDATE ON tasks_app_attempt FOR EACH ROW
    WHEN (NEW.outcome = 'completed') EXECUTE FUNCTION be_slow();
"""
FAST_AGAIN = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE wait_event = 'PgSleep' AND datname = current_database() AND pid <> pg_backend_pid();
DROP TRIGGER IF EXISTS be_slow ON tasks_app_attempt;
DROP FUNCTION IF EXISTS be_slow();
"""


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture
def slow_commit(workers) -> Iterator[None]:
    """Let every completion wait inside its transaction."""
    execute(SLOW_COMMIT)
    yield
    workers.kill_all()
    execute(FAST_AGAIN)


def test_a_worker_killed_between_rename_and_commit_leaves_a_directory_that_is_swept(workers, slow_commit):
    task = spawn_one("echo", {"value": 1, "outputs": {"image.fits": "pixels"}})
    worker = workers.start()
    (orphaned,) = wait_for(lambda: list((workers.data / "echo").glob("*")))
    worker.kill()
    execute(FAST_AGAIN)
    assert cleanup.sweep(workers.data, old_after_sec=0, kept=0) == []  # its token is live
    workers.start()
    (path,) = finished(task).result["paths"]
    assert outcomes(task) == ["lost", "completed"]
    good = Path(path).parent
    assert good != orphaned and orphaned.is_dir()
    assert cleanup.sweep(workers.data, kept=0) == []  # it is not old
    first = Path(attempts(task)[0].directory)
    assert set(cleanup.sweep(workers.data, old_after_sec=0, kept=0)) == {orphaned, first}
    wait_for(lambda: not orphaned.exists() and not first.exists())
    time.sleep(0.1)
    assert Path(path).read_text() == "pixels"


def test_every_product_file_and_directory_is_on_the_disk_before_the_reply(tmp_path, monkeypatch):
    synced = set()
    fsync = os.fsync

    def noting(fd: int) -> None:
        synced.add(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    reply, _ = run(tmp_path, "writes", value="x")
    assert isinstance(reply, Result)
    products = tmp_path / "products"
    made = {products, *products.rglob("*")}
    assert made <= synced and any(stat.S_ISREG(path.stat().st_mode) for path in made)
