"""Backups of the test's own database by the commands, restored into databases beside it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.db import connection

from tasks_app.backup import backup, dumps
from tasks_app.backup.server import Server, count_rows
from tasks_app.models import Acknowledgement, LastBackup, Schedule, Task
from tasks_app.monitoring import health, metrics
from tasks_app.monitoring.health import Check
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.management.commands import json_of, output_of, refused, run
from tests.tasks_app.notes import spawn_note

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = "SELECT t::text FROM tasks_app_task t ORDER BY 1"
EVENTS = "SELECT e::text FROM tasks_app_taskevent e ORDER BY 1"


@pytest.fixture
def directory(settings, tmp_path: Path) -> Path:
    settings.ABSURD_BACKUP_DIR = tmp_path / "backups"
    return settings.ABSURD_BACKUP_DIR


@pytest.fixture
def new_name() -> Iterator[Callable[[], str]]:
    """Yield a function that returns names of databases, which are dropped at the end with all that come from them."""
    server, names = Server.configured(), []

    def take() -> str:
        names.append(f"backup_test_{uuid4().hex[:12]}")
        return names[-1]

    yield take
    with server.maintenance() as session:
        for (name,) in session.execute("SELECT datname FROM pg_database").fetchall():
            if name.startswith(tuple(names)):
                session.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def copy(directory: Path, new_name: Callable[[], str], settings) -> str:
    """Return a restored copy with two tasks, which is the database of the commands from now on."""
    spawn_note(), spawn_note()
    output_of("absurd_backup")
    name = new_name()
    output_of("absurd_restore", "latest", "--into", name)
    host = connection.settings_dict["HOST"]
    settings.ABSURD_BACKUP_DATABASE_URL = f"postgresql://postgres@:5432/{name}?host={host}"
    return name


def databases() -> set[str]:
    with Server.configured().maintenance() as session:
        return {name for (name,) in session.execute("SELECT datname FROM pg_database").fetchall()}


def rows_of(name: str, query: str) -> list[Any]:
    with Server.configured().database(name).connect() as session:
        return session.execute(query).fetchall()


def test_a_backup_is_private_verified_and_the_newest_are_kept(directory: Path):
    spawn_note()
    directory.mkdir()
    others = [directory / "notes.txt", directory / "other-20200101T000000Z.dump"]
    for each in others:
        each.write_text("not ours")
    old = [directory / f"{connection.settings_dict['NAME']}-2020010{day}T000000Z.dump" for day in (1, 2, 3)]
    for each in old:
        each.write_text("old")
        dumps.manifest_path(each).write_text("{}")
    before = databases()
    found = json_of("absurd_backup", "--keep", 2)
    made = Path(found["path"])
    assert found["verified"] and found["rows"]["public.tasks_app_task"] == Task.objects.count() == 1
    assert found["size_bytes"] == made.stat().st_size and made.stat().st_mode & 0o077 == 0
    assert directory.stat().st_mode & 0o007 == 0
    assert found["removed"] == [str(old[1]), str(old[0])]
    kept = {made, dumps.manifest_path(made), old[2], dumps.manifest_path(old[2]), *others, directory / ".lock"}
    assert set(directory.iterdir()) == kept
    assert databases() == before


def backups_check() -> Check:
    (found,) = [each for each in health.examine().checks if each.name == "backups"]
    return found


def test_the_age_of_the_newest_backup_is_watched_where_there_are_backups(directory: Path):
    assert (backups_check().state, backups_check().value) == ("ok", None)
    schedule = Schedule.objects.create(name="nightly", cron="0 3 * * *", task_name="backup-database")
    assert backups_check().state == "ok", "the first one is not late yet"
    Schedule.objects.update(created_at=clock.now() - timedelta(days=2))
    late = backups_check()
    assert (late.state, late.message) == ("warn", "There is no backup yet")
    path = json_of("absurd_backup")["path"]
    found = backups_check()
    assert found.state == "ok" and path in found.message and platform.node() in found.message
    schedule.delete()
    LastBackup.objects.update(made_at=clock.now() - timedelta(hours=37))
    late = backups_check()
    assert late.state == "warn" and "1 d 13 h old" in late.message and late.value == pytest.approx(37 * 3600, abs=600)
    metrics.forget()
    text = Caller(make_key("read")).get("metrics?format=prometheus").content.decode()
    assert 'absurd_health_check{check="backups"} 1.0' in text
    (age,) = re.findall(r"^absurd_backup_age_seconds (\S+)$", text, re.MULTILINE)
    assert float(age) == pytest.approx(37 * 3600, abs=600)
    output_of("absurd_acknowledge", "backups", "--reason", "the disk is being replaced")
    assert backups_check().state == "ok"
    Acknowledgement.objects.update(acknowledged_at=clock.now() - timedelta(hours=37))
    assert backups_check().state == "warn"


def test_the_progress_of_a_backup_is_that_of_rows_and_never_goes_back(directory: Path):
    for _ in range(50):
        spawn_note()
    seen: list[tuple[float, str]] = []
    made = backup.make(Server.configured(), directory, keep=1, on_progress=lambda *step: seen.append(step))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and 0.9 < fractions[-1] <= 1.0
    total = sum(made.manifest.rows.values()) + len(made.manifest.rows)
    for what, share in (("dumping", 0.5), ("restoring", 0.3)):
        at = [fraction for fraction, text in seen if text.startswith(f"{what} public.")]
        assert len(at) == len(made.manifest.rows)
        (events,) = [number for number, text in enumerate(seen) if text[1] == f"{what} public.tasks_app_taskevent"]
        step = fractions[events + 1] - fractions[events]
        assert step == pytest.approx(share * (made.manifest.rows["public.tasks_app_taskevent"] + 1) / total)


def test_a_backup_of_another_database_is_not_noted(copy: str, directory: Path):
    LastBackup.objects.all().delete()
    output_of("absurd_backup")
    assert not LastBackup.objects.exists()


def test_a_restored_database_has_the_same_rows_and_goes_on_from_them(directory: Path, new_name):
    tasks = [spawn_note() for _ in range(3)]
    name = new_name()
    dump = json_of("absurd_backup")["path"]
    found = json_of("absurd_restore", dump, "--into", name)
    assert found["compared"] and found["database"] == name and found["replaced"] is None
    own = connection.settings_dict["NAME"]
    for query in (ROWS, EVENTS):
        assert rows_of(name, query) == rows_of(own, query) != []
    assert len(rows_of(name, ROWS)) == len(tasks)
    triggers = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    assert rows_of(name, triggers) == rows_of(own, triggers) != []
    sequence = "SELECT last_value FROM tasks_app_taskevent_id_seq"
    assert rows_of(name, sequence) == rows_of(own, sequence)
    assert refused("absurd_restore", dump, "--into", name)[0] == 4


def test_what_is_written_while_the_dump_is_made_is_in_neither_the_dump_nor_its_counts(directory: Path):
    spawn_note()
    written: list[int] = []

    def write(_fraction: float, what: str) -> None:
        if what.startswith("dumping"):
            written.append(spawn_note().pk)

    made = backup.make(Server.configured(), directory, keep=1, on_progress=write)
    assert written and made.manifest.verified
    assert made.manifest.rows["public.tasks_app_task"] == 1


def test_rows_are_replaced_only_by_name_and_while_nobody_is_connected(copy: str, directory: Path):
    dump = json_of("absurd_backup")["path"]
    with Server.configured().connect() as session:
        session.execute("UPDATE tasks_app_task SET params = '{\"changed\": true}'")
    code, message = refused("absurd_restore", dump)
    assert code == 4 and f"--replace {copy}" in message
    assert refused("absurd_restore", dump, "--replace", "other")[0] == 2
    with Server.configured().connect():
        code, message = refused("absurd_restore", dump, "--replace", copy)
    assert code == 4 and "absurd-backup (postgres, local)" in message
    changed = rows_of(copy, ROWS)
    before = databases()
    found = json_of("absurd_restore", "latest", "--replace", copy)
    assert rows_of(found["replaced"], ROWS) == changed != rows_of(copy, ROWS)
    assert rows_of(copy, ROWS) == rows_of(connection.settings_dict["NAME"], ROWS)
    assert databases() == before | {found["replaced"]}


def test_a_database_that_is_gone_is_restored_without_a_word_more(copy: str, directory: Path):
    output_of("absurd_backup")
    with Server.configured().maintenance() as session:
        session.execute(f'DROP DATABASE "{copy}"')
    output_of("absurd_restore", "latest")
    assert rows_of(copy, ROWS) == rows_of(connection.settings_dict["NAME"], ROWS)


def test_what_is_no_sound_dump_is_refused_and_changes_nothing(copy: str, directory: Path, tmp_path: Path):
    dump = Path(json_of("absurd_backup")["path"])
    whole, before = dump.read_bytes(), databases()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    text = tmp_path / "text.dump"
    text.write_text("hello")
    for content in (whole[:-100], bytes(damaged)):
        dump.write_bytes(content)
        code, message = refused("absurd_restore", dump, "--replace", copy)
        assert code == 2 and str(dump) in message and "\n" not in message
    assert refused("absurd_restore", text, "--check")[0] == 2
    assert refused("absurd_restore", tmp_path / "none.dump", "--check")[0] == 2
    # Without a manifest the damage shows when it is restored, into the scratch database only.
    dumps.manifest_path(dump).unlink()
    dump.write_bytes(whole[: len(whole) // 2])
    assert refused("absurd_restore", dump, "--replace", copy)[0] == 1
    assert databases() == before and len(rows_of(copy, ROWS)) == 2


def test_a_dump_with_other_counts_than_were_noted_replaces_nothing(copy: str, directory: Path):
    dump = Path(json_of("absurd_backup")["path"])
    noted = json.loads(dumps.manifest_path(dump).read_text())
    noted["rows"]["public.tasks_app_task"] += 1
    dumps.manifest_path(dump).write_text(json.dumps(noted))
    before = databases()
    code, message = refused("absurd_restore", dump, "--replace", copy)
    assert code == 1 and "public.tasks_app_task 2 instead of 3" in message
    assert databases() == before and len(rows_of(copy, ROWS)) == 2


def test_a_role_that_may_not_create_databases_dumps_without_verification(directory: Path, settings):
    role = f"reader_{uuid4().hex[:8]}"
    server = Server.configured()
    try:
        with server.connect() as session:
            session.execute(f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data")
        host, name = connection.settings_dict["HOST"], connection.settings_dict["NAME"]
        settings.ABSURD_BACKUP_DATABASE_URL = f"postgresql://{role}@:5432/{name}?host={host}"
        code, message = refused("absurd_backup")
        assert code == 1 and role in message and "--no-verify" in message
        assert not json_of("absurd_backup", "--no-verify")["verified"]
        with server.connect() as session:
            session.execute(f"REVOKE pg_read_all_data FROM {role}")
        code, message = refused("absurd_backup", "--no-verify", "--directory", directory / "other")
        assert code == 1 and "permission denied" in message
    finally:
        with server.connect() as session:
            session.execute(f"DROP ROLE IF EXISTS {role}")


def test_two_backups_at_once_a_server_that_is_away_and_a_directory_that_cannot_be_made(directory: Path, settings):
    directory.mkdir()
    with (directory / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert refused("absurd_backup")[0] == 75
    (directory / "file").touch()
    assert refused("absurd_backup", "--directory", directory / "file")[0] == 1
    settings.ABSURD_BACKUP_DATABASE_URL = "postgresql://nobody@127.0.0.1:1/absurd"
    assert refused("absurd_backup")[0] == 75
    assert [path.name for path in directory.iterdir()] != [] and not list(directory.glob("*.dump*"))


def test_scratch_databases_and_partial_files_of_killed_backups_are_removed(directory: Path):
    name = connection.settings_dict["NAME"]
    left = [f"{name}_scratch_20200101T000000Z_0123abcd", f"other{name}_scratch_20200101T000000Z_0123abcd"]
    with Server.configured().maintenance() as session:
        for each in left:
            session.execute(f'CREATE DATABASE "{each}"')
    directory.mkdir()
    partial = directory / f"{name}-20200101T000000Z.dump.partial"
    partial.touch()
    os.utime(partial, (0, 0))
    try:
        output_of("absurd_backup")
        assert left[0] not in databases() and left[1] in databases() and not partial.exists()
    finally:
        with Server.configured().maintenance() as session:
            session.execute(f'DROP DATABASE "{left[1]}"')


def test_pg_dump_and_psql_as_an_earlier_guide_printed_them(tmp_path: Path, new_name):
    """With the variables that `absurd_backup --environment` prints."""
    spawn_note()
    (tmp_path / "environment").write_text(output_of("absurd_backup", "--environment"))
    own, name = connection.settings_dict["NAME"], new_name()
    script = f"""set -euo pipefail
. {tmp_path}/environment
pg_dump {own} | gzip > {tmp_path}/absurd_$(date +%Y%m%d).sql.gz
createdb {name}
gunzip -c {tmp_path}/absurd_*.sql.gz | psql -q -v ON_ERROR_STOP=1 {name} > /dev/null
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    server = Server.configured()
    with server.connect() as mine, server.database(name).connect() as restored:
        assert count_rows(restored) == count_rows(mine)
    assert rows_of(name, ROWS) == rows_of(own, ROWS) != []


def test_the_program_of_another_major_version_is_not_used(monkeypatch: pytest.MonkeyPatch, directory: Path):
    monkeypatch.setattr(Server, "_major", lambda self: 12)
    code, message = refused("absurd_backup")
    assert code == 1 and "apt-get install postgresql-client-12" in message


def test_a_scheduled_backup_is_made_by_a_worker(live_environment: dict[str, str], tmp_path: Path):
    settings_of_worker = live_environment | {"ABSURD_BACKUP_DIR": str(tmp_path / "backups")}
    assert run(settings_of_worker, "absurd_spawn", "backup-database", "keep=3").returncode == 0
    done = run(settings_of_worker, "runworker", "--burst", "--queue-name", django_settings.ABSURD_QUEUE_NAME)
    task = Task.objects.get(task_name="backup-database")
    assert task.status == "completed", done.stderr
    assert task.result["verified"] and Path(task.result["path"]).parent == tmp_path / "backups"
    assert run(settings_of_worker, "absurd_spawn", "backup-database", "keep=0").returncode == 2
