"""Three hosts and a night: one host's network is cut and healed, one loses its mount; nothing is lost or done twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from absurd_project.local import unprivileged
from tests.hosts.feed_client import FeedClient
from tests.hosts.network import Host, Network, NotPossible
from tests.hosts.site import ABSURD, LEASE_SEC, Site, shown, wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.casa, pytest.mark.timeout(1200)]
CUT_SEC = 60
NIGHT = {"calibration-solve": {"model_smearing": False}, "imaging": {"correct_smearing": False}}
"""What tiles that are simulated without smearing need."""


def refuse(reason: str) -> None:
    """Skip the test where hosts cannot be made, but fail where all tests must run."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def site() -> Iterator[Site]:
    """Yield three hosts on which the system runs; everything on them is ended afterwards."""
    if os.geteuid() != 0:
        refuse("hosts in network namespaces need root")
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            refuse(f"{program} is not installed: apt-get install {package}")
    if not unprivileged.namespaces_work():
        refuse("user namespaces are forbidden here, which PostgreSQL needs under root")
    directory = Path(tempfile.mkdtemp(prefix="absurd-hosts-"))
    network = None
    try:
        try:
            network = Network()
            made = Site(directory, network)
        except (NotPossible, RuntimeError) as error:
            refuse(f"this machine cannot make hosts: {error}")
        try:
            made.set_up()
            yield made
        finally:
            for log in sorted(made.logs.glob("*.log")):  # pytest shows it when the test fails
                print(f"--- {log.name}\n{log.read_text()[-4000:]}")
    finally:
        if network is not None:
            network.end()
        shutil.rmtree(directory, ignore_errors=True)


def unfinished(site: Site) -> int:
    site.check_processes()
    found: int = site.value("SELECT count(*) FROM tasks_app_task WHERE status IN ('pending', 'claimed')")
    return found


def why_unfinished(site: Site) -> list[object]:
    """Return for each unfinished task why it is not done."""
    rows = site.rows("SELECT task_id FROM tasks_app_task WHERE status IN ('pending', 'claimed') ORDER BY id")
    return [site.get(f"/api/absurd/tasks/{task_id}/explain").json() for (task_id,) in rows]


def holders(site: Site, host: Host) -> list[tuple[Any, ...]]:
    """Return id and row of the tasks that a host holds."""
    site.check_processes()
    return site.rows(
        "SELECT task.task_id, task.task_name FROM tasks_app_task task JOIN tasks_app_worker worker"
        " ON worker.id = task.worker_id WHERE task.status = 'claimed' AND worker.host = %s",
        host.name,
    )


def attempts_of(site: Site, task_id: str) -> list[tuple[str, str]]:
    """Return host and outcome of each attempt of a task."""
    return site.rows(
        "SELECT worker.host, attempt.outcome FROM tasks_app_attempt attempt JOIN tasks_app_worker worker"
        " ON worker.id = attempt.worker_id WHERE attempt.task_id = %s ORDER BY attempt.number",
        task_id,
    )


def simulate_night(site: Site) -> None:
    """Write two small tiles into the incoming directory of the shared file system, and watch it on one host."""
    incoming = site.stage / "incoming"
    on_disk = site.directory / "disks" / "stage" / "incoming"
    on_disk.mkdir()
    (on_disk / "processing.json").write_text(json.dumps(NIGHT))
    site.start(site.two, "ingest", *_absurd("absurd_ingest", "--watch", str(incoming)))
    raw = site.directory / "disks" / "stage" / "raw"
    site.run(site.two, "absurd_simulate", str(site.stage / "raw"), "--size", "tiny")
    for file in raw.iterdir():
        file.rename(on_disk / file.name)


def _absurd(*command: str) -> list[str]:
    return [*ABSURD, *command]


def test_a_night_on_three_hosts(site: Site) -> None:
    figures: dict[str, object] = {"lease_sec": LEASE_SEC}
    stayed, returned = FeedClient(site), FeedClient(site)
    wait_for("both clients", lambda: stayed.is_connected() and returned.is_connected())
    first_event = site.value("SELECT coalesce(max(id), 0) FROM tasks_app_taskevent")
    simulate_night(site)
    wait_for("the first completed stage", lambda: completed(site))

    files_of_one_host_only(site)
    cut_and_heal(site, returned, figures)
    without_its_mount(site, figures)
    wait_for("the end of the night", lambda: unfinished(site) == 0, lambda: why_unfinished(site))

    nothing_lost_nothing_twice(site, figures)
    logs_and_products_from_the_web_host(site, figures)
    last = site.value("SELECT max(id) FROM tasks_app_taskevent")
    for client in (stayed, returned):
        the_feed_is_complete(site, client, first_event, last)
        client.end()
    assert (stayed.connections, returned.connections) == (1, 2)
    figures["events"] = len(stayed.ids)
    print(shown(figures))


def completed(site: Site) -> int:
    site.check_processes()
    found: int = site.value("SELECT count(*) FROM tasks_app_task WHERE status = 'completed'")
    return found


def files_of_one_host_only(site: Site) -> None:
    """A task whose input only one host has is done there, and a try on the other uses up no retry."""
    for host in (site.one, site.two):
        place = site.own_root(host) / "catalog.csv"
        (site.directory / "disks" / host.name / "own" / "catalog.csv").write_text(host.name)
        task = site.spawn("read-file", path=str(place))
        ended = wait_for(
            "a file of one host",
            lambda task=task: site.rows(
                "SELECT status, retry_count FROM tasks_app_task WHERE task_id = %s AND completed_at IS NOT NULL", task
            ),
        )
        assert ended == [("completed", 0)], ended
        *refused, last = attempts_of(site, task)
        assert last == (host.name, "completed") and all(outcome == "unavailable" for _, outcome in refused)


def cut_and_heal(site: Site, client: FeedClient, figures: dict[str, object]) -> None:
    """Cut the network of a host that is at work; what it held is done elsewhere, and once."""
    long = [site.spawn("sleep", seconds=CUT_SEC / 2) for _ in range(4)]
    held = wait_for("a long task on host one", lambda: [row for row in holders(site, site.one) if str(row[0]) in long])
    before = log_of(site, str(held[0][0]))
    assert before.status_code == 200 and "X-Absurd-Log-Kept" not in before.headers, before.text
    cut_at = site.value("SELECT extract(epoch FROM now())")
    site.network.cut(site.one)
    client.leave()

    def since(moment: Any) -> float:
        return float(site.value("SELECT extract(epoch FROM now()) - %s", moment))

    wait_for("a worker that is not live", lambda: site.state_of(site.one)["state"] in ("stale", "lost"))
    figures["stale_after_sec"] = round(since(cut_at), 1)
    wait_for("lost attempts", lambda: all(("one", "lost") in attempts_of(site, str(task)) for task, _ in held))
    ends = "SELECT max(extract(epoch FROM ended_at)) FROM tasks_app_attempt WHERE outcome = 'lost'"
    figures["tasks_returned_after_sec"] = round(float(site.value(ends) - cut_at), 1)
    answer = log_of(site, str(held[0][0]), number=1)
    assert answer.status_code == 404 and "on host one" in answer.json()["detail"], answer.text
    wait_for("the end of the cut", lambda: since(cut_at) >= CUT_SEC)
    site.network.heal(site.one)
    healed_at = site.value("SELECT extract(epoch FROM now())")
    figures["cut_sec"] = round(float(healed_at - cut_at), 1)
    client.come_back()
    wait_for("the worker's return", lambda: site.state_of(site.one)["state"] in ("active", "idle"))
    figures["reports_again_after_sec"] = round(since(healed_at), 1)
    again = "SELECT 1 FROM tasks_app_attempt attempt JOIN tasks_app_worker worker ON worker.id = attempt.worker_id"
    again += " WHERE worker.host = 'one' AND attempt.outcome = 'completed' AND attempt.started_at > to_timestamp(%s)"

    def works_again() -> bool:
        if site.rows(again, healed_at):
            return True
        if unfinished(site) < 4:
            site.spawn("sleep", seconds=0.5)
        return False

    wait_for("a task completed by it", works_again)
    figures["works_again_after_sec"] = round(since(healed_at), 1)


def without_its_mount(site: Site, figures: dict[str, object]) -> None:
    """A host that loses the shared file system claims nothing until it is back, and uses up no retry."""
    site.one.unmount(site.stage)
    missing = "SELECT 1 FROM tasks_app_worker WHERE host = 'one' AND missing_roots <> '[]'"
    wait_for("the report of the missing mount", lambda: site.rows(missing))
    last = "SELECT coalesce(max(attempt.id), 0) FROM tasks_app_attempt attempt JOIN tasks_app_worker worker"
    last += " ON worker.id = attempt.worker_id WHERE worker.host = 'one'"
    before = site.value(last)
    tasks = [site.spawn("sleep", seconds=0.2) for _ in range(8)]
    done = "SELECT count(*) FROM tasks_app_task WHERE task_id::text = ANY(%s) AND status = 'completed'"
    wait_for("the other host to do everything", lambda: site.value(done, tasks) == len(tasks))
    assert site.value(last) == before
    site.mount_stage(site.one)
    wait_for("the return of the mount", lambda: not site.rows(missing))
    figures["done_without_mount"] = len(tasks)


def nothing_lost_nothing_twice(site: Site, figures: dict[str, object]) -> None:
    statuses = dict(site.rows("SELECT status, count(*) FROM tasks_app_task GROUP BY 1"))
    failed = site.rows("SELECT task_name, status, error FROM tasks_app_task WHERE status <> 'completed'")
    assert set(statuses) == {"completed"}, failed
    outcomes = dict(site.rows("SELECT outcome, count(*) FROM tasks_app_attempt GROUP BY 1"))
    assert set(outcomes) <= {"completed", "lost", "unavailable"}, outcomes
    twice = "SELECT count(*) FROM (SELECT task_id FROM {} GROUP BY 1 HAVING count(*) <> 1) twice"
    done = "tasks_app_attempt WHERE outcome = 'completed'"
    ended = "tasks_app_taskevent WHERE event_type = 'completed' AND task_id IS NOT NULL"
    duplicates = site.value(twice.format(done)) + site.value(twice.format(ended))
    stages = site.value("SELECT count(*) FROM tasks_app_task WHERE stage <> ''")
    assert stages >= 9
    # Each task's products are in one published place, and there is no other.
    on_disk = site.directory / "disks" / "stage"
    places = {str(place) for name in on_disk.iterdir() if name.is_dir() for place in name.glob("*.????????")}
    paths = [Path(path) for (path,) in site.rows("SELECT path FROM pipeline_app_product")]
    known = {str(on_disk / path.relative_to(site.stage)) for path in paths}
    assert known and all(Path(path).exists() for path in known)
    extra = {place for place in places if not any(path == place or path.startswith(place + "/") for path in known)}
    assert not extra, extra
    assert duplicates == 0
    figures |= {"tasks": statuses["completed"], "stages": stages, "attempts": outcomes, "duplicates": duplicates}


def log_of(site: Site, task_id: str, number: int | None = None) -> Any:
    attempt = f"/attempts/{number}" if number else ""
    return site.get(f"/api/absurd/tasks/{task_id}{attempt}/log")


def logs_and_products_from_the_web_host(site: Site, figures: dict[str, object]) -> None:
    """The web host has no data root and none of the logs; all come from the hosts that made them."""
    query = "SELECT attempt.task_id, attempt.number, worker.host, attempt.log_path FROM tasks_app_attempt attempt"
    query += " JOIN tasks_app_worker worker ON worker.id = attempt.worker_id WHERE attempt.log_path <> ''"
    read: dict[str, int] = {}
    for task, number, host, path in site.rows(query):
        answer = log_of(site, str(task), number)
        kept = site.directory / "disks" / host / "var" / Path(path).relative_to(site.var)
        assert (answer.status_code, answer.content) == (200, kept.read_bytes()), answer.text
        assert answer.headers["X-Absurd-Log-Host"] == host and "X-Absurd-Log-Kept" not in answer.headers
        read[host] = read.get(host, 0) + 1
    assert set(read) == {"one", "two"}
    fetched = 0
    for key, path, host, root in site.rows("SELECT id, path, host, root FROM pipeline_app_product"):
        assert host in read and root == str(site.stage)
        file = site.directory / "disks" / "stage" / Path(path).relative_to(site.stage)
        answer = site.get(f"/api/absurd/pipeline/products/{key}/file")
        if file.is_dir():
            assert answer.status_code == 404 and f"on host {host}" in answer.json()["detail"], answer.text
            continue
        assert hashlib.sha256(answer.content).digest() == hashlib.sha256(file.read_bytes()).digest(), path
        part = site.get(f"/api/absurd/pipeline/products/{key}/file", Range="bytes=10-19")
        assert (part.status_code, part.content) == (206, file.read_bytes()[10:20])
        fetched += 1
    assert fetched
    figures |= {"logs_read": read, "products_fetched": fetched}


def the_feed_is_complete(site: Site, client: FeedClient, first: int, last: int) -> None:
    """Every event of a task's or worker's state came once and in order.

    Of progress a client that was away gets the latest only; a refused write changes no state and is no message.
    """
    wait_for("the last event", lambda: client.has_seen(last))
    assert client.ids == sorted(set(client.ids)) and client.resyncs == 0
    query = "SELECT id FROM tasks_app_taskevent WHERE id > %s AND id <= %s AND event_type <> 'progress'"
    query += " AND (to_status <> '' OR event_type LIKE 'worker%%')"
    committed = {number for (number,) in site.rows(query, first, last)}
    missing = committed - set(client.ids)
    named = "SELECT id, event_type, task_id FROM tasks_app_taskevent WHERE id = ANY(%s)"
    assert not missing, site.rows(named, list(missing))
