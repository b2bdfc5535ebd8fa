"""A host that loses a data root: it claims nothing, reports so, and nothing is charged to a task."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app.files import directories
from tasks_app.models import Task, Worker
from tests.workers.live import finished, outcomes, spawn_one, wait_for

pytestmark = pytest.mark.chaos


def marked(root: Path) -> bool:
    return directories.is_marked(str(root))


def test_without_its_mount_a_host_claims_nothing_and_goes_on_when_it_is_back(workers, tmp_path):
    mount, aside = tmp_path / "mount", tmp_path / "aside"
    mount.mkdir()
    (mount / "tile").write_text("12345")
    workers.environment["ABSURD_DATA_ROOTS"] += f":{mount}"
    worker = workers.start()
    assert finished(spawn_one("read-file", {"path": f"{mount}/tile"})).result == {"size_bytes": 5}
    assert marked(mount) and marked(workers.data)  # in local mode by itself
    mount.rename(aside)
    mount.mkdir()  # the empty mount point
    task = spawn_one("read-file", {"path": f"{mount}/tile"}, max_retries=0)
    wait_for(lambda: Worker.objects.get().missing_roots == [str(mount)])
    assert f"data roots are missing on this host, nothing is claimed: {mount}" in workers.logs()
    wait_for(lambda: Task.objects.filter(pk=task.pk, status="pending").exists())  # an attempt may have begun before
    assert Task.objects.get(pk=task.pk).retry_count == 0
    assert set(outcomes(task)) <= {"unavailable"}
    later = spawn_one("echo")
    mount.rmdir()
    aside.rename(mount)
    assert finished(task).result == {"size_bytes": 5}
    assert finished(later).status == "completed"
    assert (Worker.objects.get().missing_roots, worker.poll()) == ([], None)
    assert not any(outcome not in ("completed", "unavailable") for outcome in outcomes(task))


def test_a_worker_started_on_a_host_without_the_mount_claims_nothing(workers, tmp_path):
    mount = tmp_path / "mount"
    mount.mkdir()
    workers.environment |= {"ABSURD_DATA_ROOTS": f"{workers.data}:{mount}", "ABSURD_MODE": "production"}
    workers.environment |= {"SECRET_KEY": "0123456789" * 6, "ABSURD_HOSTS": "localhost"}
    directories.mark(str(workers.data))
    task = spawn_one("echo")
    workers.start(ABSURD_DIAGNOSTICS="true")
    wait_for(lambda: Worker.objects.filter(missing_roots=[str(mount)]).exists())
    assert Task.objects.get(pk=task.pk).claim_epoch == 0
    workers.burst()  # does not wait for the mount
    assert Task.objects.get(pk=task.pk).claim_epoch == 0
    directories.mark(str(mount))
    assert finished(task).status == "completed"


def test_products_go_to_the_first_root_again_once_it_is_back(workers, tmp_path):
    mount, aside = tmp_path / "mount", tmp_path / "aside"
    mount.mkdir()
    directories.mark(str(mount))
    workers.environment |= {"ABSURD_DATA_ROOTS": f"{mount}:{workers.data}", "ABSURD_MODE": "production"}
    workers.environment |= {"SECRET_KEY": "0123456789" * 6, "ABSURD_HOSTS": "localhost"}
    directories.mark(str(workers.data))
    mount.rename(aside)  # no directory at all: the other root is chosen
    task = spawn_one("echo", {"outputs": {"a.txt": "a"}})
    workers.start(ABSURD_DIAGNOSTICS="true")
    wait_for(lambda: Worker.objects.filter(missing_roots=[str(mount)]).exists())
    aside.rename(mount)
    (path,) = finished(task).result["paths"]
    assert Path(path).is_relative_to(mount)
    assert f"products go to {mount} from now on" in workers.logs()
