"""A backup that is made while workers run, restored, and worked off."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import uuid4

from django.conf import settings

from tasks_app.backup import backup, restore
from tasks_app.backup.server import Server
from workers.gameday import polling
from workers.gameday.drill import Drill, scenario

TASKS = 12
BURST_SEC = 120.0


@scenario("restore-a-backup")
def restore_a_backup(drill: Drill) -> None:
    """Back up under load, restore into a new database, and complete there what had not ended in the dump."""
    server = Server.configured()
    drill.processes.start_ready("--concurrency", "2")
    tasks = drill.spawn_many("sleep", [{"seconds": 1, "steps": 2}] * TASKS)
    polling.finished(tasks[0])
    made = backup.make(server, drill.directory / "backups", keep=1)
    drill.expect("the restored dump has the rows of the snapshot", made.manifest.verified)
    copy = server.database(f"gameday_{uuid4().hex[:12]}")
    try:
        found = restore.restore_into(copy, made.path)
        drill.expect("its rows are those of the backup", found.rows == made.manifest.rows)
        _work_off(drill, copy)
    finally:
        with server.maintenance() as session:
            restore.drop(session, copy.name)
    polling.all_finished(drill.task_ids)


def _work_off(drill: Drill, copy: Server) -> None:
    """Run a worker on the restored database until nothing is left, and look at what it has done."""
    url = urlsplit(settings.ABSURD_DATABASE_URL)._replace(path=f"/{copy.name}").geturl()
    worker = drill.processes.start("--burst", environment={"ABSURD_DATABASE_URL": url})
    code = worker.popen.wait(BURST_SEC)
    drill.expect("a worker has worked off the restored queue", code == 0, code)
    ids = [str(task_id) for task_id in drill.task_ids]
    with copy.connect() as session:
        ended = session.execute(
            "SELECT task_id, count(*) FROM tasks_app_taskevent"
            " WHERE event_type = 'completed' AND task_id::text = ANY(%s) GROUP BY task_id",
            [ids],
        ).fetchall()
    drill.expect("every task has completed there", len(ended) == TASKS, f"{len(ended)} of {TASKS}")
    drill.expect("and none twice", all(times == 1 for _, times in ended), ended)
