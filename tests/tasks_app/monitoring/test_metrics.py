"""All figures, through the API and as Prometheus reads them."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.errors import LostClaim
from tasks_app.models import Freeze, Queue, Worker
from tasks_app.monitoring import metrics
from tasks_app.monitoring.metrics import CachedValue
from tasks_app.monitoring.workers import STATES
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.fixture(autouse=True)
def nothing_kept():
    metrics.forget()
    yield
    metrics.forget()


@pytest.fixture
def api(db) -> Caller:
    return Caller(make_key("read"))


def samples(response) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(response.content.decode())
    return {
        (s.name, *(value for _, value in sorted(s.labels.items()))): s.value
        for family in families
        for s in family.samples
    }


def test_an_empty_system_has_counts_and_no_invented_figures(api):
    body = api.get("metrics").body
    (queue,) = body["queues"]
    assert (queue["queue_name"], queue["tasks"]["total"], queue["paused"]) == ("dsa110-pipeline", 0, False)
    assert [queue[name] for name in ("oldest_pending_sec", "failure_rate", "retry_rate")] == [None] * 3
    assert queue["throughput"]["5m"] == {"tasks_per_sec": 0.0, "over_sec": 300.0}
    assert body["task_names"] == []
    assert body["workers"] == {
        "states": dict.fromkeys(STATES, 0), "slots": 0, "slots_taken": 0, "hosts": [],
    }  # fmt: skip
    assert not [key for key in samples(api.get("metrics?format=prometheus")) if "seconds" in key[0] and "0.5" in key]


def test_figures_are_those_of_the_rows(api, worker):
    for _ in range(3):
        spawn_note()
    claim = claim_one(worker)
    complete_task(claim, {}, REPORT)
    with pytest.raises(LostClaim):
        complete_task(claim, {}, REPORT)
    fail_attempt(claim_one(worker), "invalid", "no", REPORT)
    claim_one(worker)
    stopped = make_worker(label="worker-2")
    Worker.objects.filter(pk=stopped.pk).update(stopped_at=clock.now())
    body = api.get("metrics").body
    (queue,), (note,) = body["queues"], body["task_names"]
    assert (queue["tasks"]["claimed"], queue["failure_rate"], queue["retry_rate"]) == (1, 0.5, 0.0)
    assert queue["throughput"]["1m"]["tasks_per_sec"] == pytest.approx(1 / 60)
    assert (note["task_name"], note["completed"], note["failed"], note["attempts"]) == ("note", 1, 1, 2)
    assert note["wait_sec"]["p50"] >= 0 and note["run_sec"]["p99"] >= 0
    assert body["refused_writes"]["rows"] == 1
    assert (body["workers"]["states"]["active"], body["workers"]["states"]["stopped"]) == (1, 1)
    assert (body["workers"]["slots"], body["workers"]["slots_taken"]) == (4, 1)
    assert body["feed"]["last_event"] > 0
    assert body["database"]["size_bytes"] > 1_000_000
    assert 0 < body["database"]["connections"] <= body["database"]["connections_most"]
    assert body["database"]["unfolded_changes"] > 0
    assert "tasks_app_task" in body["database"]["dead_rows"]


@pytest.mark.parametrize(
    ("path", "accept"), [("metrics?format=prometheus", "*/*"), ("metrics", "text/plain"), ("metrics", PROMETHEUS_3)]
)
def test_prometheus_reads_the_same_figures(api, worker, path, accept):
    for _ in range(2):
        spawn_note()
    complete_task(claim_one(worker), {}, REPORT)
    Queue.objects.update(paused_at=clock.now() - timedelta(minutes=1))
    Freeze.objects.create(frozen_by="user:test", reason="storm")
    response = api.get(path, Accept=accept)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    found = samples(response)
    body = api.get("metrics").body
    assert found["absurd_tasks", "dsa110-pipeline", "pending"] == 1
    assert found["absurd_tasks", "dsa110-pipeline", "completed"] == 1
    assert found["absurd_run_seconds", "0.95", "note"] == body["task_names"][0]["run_sec"]["p95"]
    assert found["absurd_throughput_tasks_per_second", "dsa110-pipeline", "1m"] == pytest.approx(1 / 60)
    assert found["absurd_failure_rate", "note"] == 0
    assert (found["absurd_workers", "idle"], found["absurd_worker_slots",]) == (1, 4)
    assert (found["absurd_queue_paused", "dsa110-pipeline"], found["absurd_frozen",]) == (1, 1)
    assert found["absurd_feed_wakeup_failures_total",] == body["feed"]["wakeup_failures"]


def test_hosts_of_live_workers_have_memory_processor_and_disk_as_the_last_report_has_them(api, worker):
    use = {"host_memory_bytes": 64 * 10**9, "host_free_bytes": 8 * 10**9, "host_cpu_busy": 0.75, "disk_gb": 900.0}
    for label, host, changed in (("a", "node-1", {}), ("b", "node-1", {"host_cpu_busy": 0.25}), ("c", "node-2", {})):
        found = make_worker(label=label, host=host)
        Worker.objects.filter(pk=found.pk).update(heartbeat_at=clock.now(), **use | changed)
    Worker.objects.filter(host="node-2").update(stopped_at=clock.now())
    (host,) = api.get("metrics").body["workers"]["hosts"]
    assert host == {
        "host": "node-1", "memory_bytes": 64 * 10**9, "free_bytes": 8 * 10**9, "cpu_busy": 0.25, "disk_free_gb": 900.0,
    }  # fmt: skip
    found = samples(api.get("metrics?format=prometheus"))
    assert found["absurd_worker_host_memory_bytes", "node-1", "available"] == 8e9
    assert found["absurd_worker_host_memory_bytes", "node-1", "total"] == 64e9
    assert found["absurd_worker_host_cpu_ratio", "node-1"] == 0.25
    assert found["absurd_worker_host_disk_free_bytes", "node-1"] == 9e11
    assert not [key for key in found if "node-2" in key]


def test_two_scrapes_share_no_registry(api):
    first, second = (api.get("metrics?format=prometheus").content for _ in range(2))
    assert first.count(b"# TYPE") == second.count(b"# TYPE") > 20


def test_metrics_are_for_readers(api):
    for path in ("metrics", "metrics?format=prometheus"):
        refused = Caller().get(path)
        assert refused.status_code == 401
        assert b'"not_authenticated"' in refused.content
        assert refused.headers["Content-Type"] == "application/problem+json"
    assert Caller(make_key("spawn", name="spawner")).get("metrics").status_code == 403
    assert api.get("metrics?format=yaml").status_code == 404
    assert api.get("metrics?quue=x").status_code == 400


def test_a_snapshot_is_kept_for_two_seconds_and_no_longer(db, monkeypatch):
    before = metrics.snapshot()
    spawn_note()
    assert metrics.snapshot() is before
    assert metrics.snapshot(fresh=True).queues[0].tasks["pending"] == 1
    moment = time.monotonic()
    monkeypatch.setattr("tasks_app.monitoring.metrics.time.monotonic", lambda: moment + metrics.KEPT_SEC)
    spawn_note()
    assert metrics.snapshot().queues[0].tasks["pending"] == 2
    assert metrics.KEPT_SEC <= 2


def test_many_threads_that_ask_at_once_have_it_made_once():
    made = []

    def make() -> int:
        made.append(None)
        time.sleep(0.1)
        return len(made)

    kept, found = CachedValue(make, keep_sec=60), []
    threads = [threading.Thread(target=lambda: found.append(kept.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 8


def test_what_failed_to_be_made_is_not_kept():
    outcomes = iter([ZeroDivisionError(), 7])

    def make() -> int:
        if isinstance(outcome := next(outcomes), Exception):
            raise outcome
        return outcome

    kept = CachedValue(make, keep_sec=60)
    with pytest.raises(ZeroDivisionError):
        kept.get()
    assert kept.get() == 7
