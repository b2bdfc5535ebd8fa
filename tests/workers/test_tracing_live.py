"""Spans of one task, from the request through the queue to the child, as a collector receives them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tasks_app import tracing
from tasks_app.models import Task
from tasks_app.operations.runs import start
from tasks_app.workflows.plan import RunPlan
from tests.daphne_server import serving
from tests.socket_server import running
from tests.tasks_app.callers import make_key
from tests.workers.live import ROOT, finished, spawn_one, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP, and keeps those of each trace with what their process says of itself."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Export)
        self.spans: list[dict] = []

    @property
    def environment(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server_address[1]}"
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def named(self, name: str) -> dict:
        """Return the span of that name in the caller's trace, as soon as it is there."""
        return wait_for(lambda: next((s for s in self.spans if (s["trace"], s["name"]) == (TRACE, name)), None))


def _plain(attributes) -> dict:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class _Export(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        message = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for process in message.resource_spans:
            about = _plain(process.resource.attributes)
            for span in (span for scope in process.scope_spans for span in scope.spans):
                self.server.spans.append({
                    "name": span.name, "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(), "service": about["service.name"], "pid": about["process.pid"],
                    "from": span.start_time_unix_nano, "to": span.end_time_unix_nano, "error": span.status.message,
                    **_plain(span.attributes),
                })  # fmt: skip
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    yield from running(Collector())


def test_one_trace_goes_from_the_request_through_the_queue_to_the_child(workers, collector):
    secret = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=hush"}
    headers = {"X-API-Key": make_key("spawn", "read"), "traceparent": f"00-{TRACE}-{CALLER}-01"}
    with serving(workers.environment | collector.environment) as port:
        api = f"http://127.0.0.1:{port}/api/absurd/tasks"
        body = {"task_name": "echo", "params": {"value": 1}, "max_retries": 0}
        answer = httpx.post(api, json=body, headers=headers, timeout=60)
        task = Task.objects.get(task_id=answer.json()["task_id"])
        workers.start(**collector.environment, **secret)
        assert finished(task).status == "completed"
        http, spawn, wait, attempt, run = map(
            collector.named, ("POST /api/absurd/tasks", "spawn echo", "wait", "attempt echo", "run echo")
        )
    assert http["parent"] == CALLER and http["absurd.request_id"] == answer.headers["X-Request-ID"]
    assert http["http.response.status_code"] == 201
    assert [spawn["parent"], wait["parent"], attempt["parent"]] == [http["id"], spawn["id"], spawn["id"]]
    assert run["parent"] == attempt["id"]
    assert [each["service"] for each in (http, attempt, run)] == ["absurd-web", "absurd-worker", "absurd-child"]
    assert len({each["pid"] for each in (http, spawn, wait, attempt, run)}) == 3
    assert (attempt["absurd.task_id"], attempt["absurd.attempt"]) == (str(task.task_id), "1")
    assert attempt["from"] <= run["from"] <= run["to"] <= attempt["to"]
    assert task.traceparent == f"00-{TRACE}-{spawn['id']}-01"


def test_failed_attempts_are_failed_spans_and_their_log_lines_have_the_ids_of_run_task_and_attempt(workers, collector):
    plan = RunPlan("trial")
    for name in ("fail", "thread-fail"):
        plan.stage(name, name, params={"message": "no flux"}, max_retries=0)
    run = start(plan, "user:test")
    Task.objects.update(traceparent=f"00-{TRACE}-{CALLER}-01")
    workers.start(ABSURD_LOG_FORMAT="json", **collector.environment)
    for task in Task.objects.all():
        assert finished(task).status == "failed"
        attempt, handler = collector.named(f"attempt {task.task_name}"), collector.named(f"run {task.task_name}")
        assert (attempt["error"], attempt["absurd.run_id"]) == ("error", str(run.run_id))
        assert handler["parent"] == attempt["id"] and "no flux" in handler["error"]
    task = Task.objects.get(task_name="fail")

    def ends() -> list[dict]:
        lines = workers.log_of("worker-1").read_text().splitlines()
        return [json.loads(line) for line in lines if '"message": "attempt ended' in line]

    (ended,) = wait_for(ends)
    ids = {"task_id": str(task.task_id), "attempt": 1, "task_name": "fail", "run_id": str(run.run_id)}
    assert ended.items() >= ids.items()


def test_a_collector_that_is_away_costs_no_task(workers):
    task = spawn_one("echo", {"value": 1})
    workers.start(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert finished(task).status == "completed"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
    ],
)
def test_only_the_standard_variables_turn_spans_on(monkeypatch, variables, wanted):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tracing.is_wanted() is wanted
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush")
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in tracing.variables()
    assert set(tracing.variables()) == (set(variables) if wanted else set())


def test_nothing_is_imported_while_spans_are_off():
    program = """
import sys
from tasks_app import tracing
tracing.begin("absurd-child")
with tracing.span("run", attributes={"a": 1}) as span:
    assert span is None and tracing.current() == ""
tracing.Work("attempt", parent="", attributes={}).end("error")
tracing.flush()
assert not [name for name in sys.modules if name.startswith(("opentelemetry", "django"))]
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
