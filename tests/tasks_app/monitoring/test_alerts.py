"""Metrics, alert rules and dashboard: made from one list, and accepted by Prometheus's own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command

from tasks_app.engine.complete import complete_task
from tasks_app.monitoring import alerts, metrics
from tasks_app.monitoring.series import SERIES
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

ROOT = Path(__file__).resolve().parents[3]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)
CASES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'up{{job="absurd", instance="a"}}', values: '1x4 0x10'}}
      - {{series: 'absurd_workers{{state="active"}}', values: '2x4 0x10'}}
      - {{series: 'absurd_workers{{state="lost"}}', values: '0x4 2x10'}}
      - {{series: 'absurd_health_check{{check="quarantine"}}', values: '0x4 1x10'}}
      - {{series: 'absurd_health_check{{check="late tiles"}}', values: '0x14'}}
      - {{series: 'absurd_disk_free_ratio{{path="/data"}}', values: '0.2x4 0.04x10'}}
      - {{series: 'absurd_host_memory_bytes{{kind="total"}}', values: '100x14'}}
      - {{series: 'absurd_host_memory_bytes{{kind="available"}}', values: '3x14'}}
      - {{series: 'absurd_worker_host_memory_bytes{{host="a", kind="total"}}', values: '100x14'}}
      - {{series: 'absurd_worker_host_memory_bytes{{host="a", kind="available"}}', values: '3x14'}}
      - {{series: 'absurd_worker_host_memory_bytes{{host="b", kind="total"}}', values: '100x14'}}
      - {{series: 'absurd_worker_host_memory_bytes{{host="b", kind="available"}}', values: '30x14'}}
    alert_rule_test:
      - {{eval_time: 4m, alertname: AbsurdDown}}
      - {{eval_time: 4m, alertname: AbsurdNoWorkers}}
      - {{eval_time: 10m, alertname: AbsurdTilesLate}}
      - eval_time: 10m
        alertname: AbsurdDown
        exp_alerts:
          - exp_labels: {{severity: critical, job: absurd, instance: a}}
            exp_annotations: {{summary: The web process of a gives no metrics, runbook: docs/monitoring.md#absurddown}}
      - eval_time: 10m
        alertname: AbsurdNoWorkers
        exp_alerts:
          - exp_labels: {{severity: critical}}
            exp_annotations:
              {{summary: "No worker is alive: nothing runs", runbook: docs/monitoring.md#absurdnoworkers}}
      - eval_time: 10m
        alertname: AbsurdQuarantine
        exp_alerts:
          - exp_labels: {{severity: warning, check: quarantine}}
            exp_annotations:
              summary: A task was quarantined after three attempts that died
              runbook: docs/monitoring.md#absurdquarantine
      - eval_time: 10m
        alertname: AbsurdDiskFull
        exp_alerts:
          - exp_labels: {{severity: critical, path: /data}}
            exp_annotations: {{summary: /data has 4% free, runbook: docs/monitoring.md#absurddiskfull}}
      - eval_time: 10m
        alertname: AbsurdWorkerMemoryLow
        exp_alerts:
          - exp_labels: {{severity: warning, host: a}}
            exp_annotations:
              summary: Less than 5 % of the memory of the worker host a is available
              runbook: docs/monitoring.md#absurdworkermemorylow
      - eval_time: 10m
        alertname: AbsurdMemoryLow
        exp_alerts:
          - exp_labels: {{severity: warning}}
            exp_annotations:
              summary: Less than 5 % of the memory of  is available
              runbook: docs/monitoring.md#absurdmemorylow
"""


def promtool(*arguments: str, text: bytes = b"") -> str:
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, timeout=120)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


@pytest.fixture
def scraped(db, worker) -> bytes:
    metrics.forget()
    spawn_note()
    complete_task(claim_one(worker), {}, REPORT)
    yield Caller(make_key("read")).get("metrics?format=prometheus").content
    metrics.forget()


@needs_promtool
def test_prometheus_finds_nothing_to_criticise_in_the_metrics(scraped):
    assert promtool("check", "metrics", text=scraped) == ""


@needs_promtool
def test_the_rules_are_valid_and_fire_when_they_should(tmp_path):
    rules = ROOT / "deploy" / "prometheus" / "alerts.yml"
    assert f"{len(alerts.ALERTS)} rules found" in promtool("check", "rules", str(rules))
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.format(rules=rules))
    assert "SUCCESS" in promtool("test", "rules", str(cases))


def test_the_files_are_those_that_the_lists_make(tmp_path):
    call_command("absurd_alerts", str(tmp_path))
    for name in ("prometheus/alerts.yml", "grafana/dashboard.json"):
        assert (ROOT / "deploy" / name).read_text() == (tmp_path / name).read_text(), "manage.py absurd_alerts deploy"


def test_every_metric_has_samples_help_and_a_panel(scraped):
    text = scraped.decode()
    shown = {panel["targets"][0]["expr"] for panel in json.loads(alerts.dashboard())["panels"] if "targets" in panel}
    without = {"absurd_oldest_pending_seconds", "absurd_real_time_factor", "absurd_oldest_transaction_seconds"}
    without |= {"absurd_backup_age_seconds", *(each.full_name for each in SERIES if each.row == "Hosts of workers")}
    for each in SERIES:
        assert f"# HELP {each.full_name}" in text
        if each.full_name not in without:
            assert re.search(rf"^{each.full_name}(_total)?[ {{]", text, re.MULTILINE), each.full_name
        assert any(each.full_name in expr for expr in shown)
    assert 'absurd_health_check{check="workers"} 0.0' in text
    assert re.search(r'absurd_disk_free_ratio\{path="/[^"]+"\} 0\.\d+', text)


def test_alerts_name_metrics_and_checks_that_there_are_and_a_heading_of_the_runbook(scraped):
    known = {each.full_name for each in SERIES} | {"up"}
    checks = set(re.findall(r'absurd_health_check\{check="([^"]+)"', scraped.decode()))
    headings = set(re.findall(r"^### (\w+)$", (ROOT / alerts.RUNBOOK).read_text(), re.MULTILINE))
    assert headings == {alert.name for alert in alerts.ALERTS}
    for alert in alerts.ALERTS:
        assert set(re.findall(r"\b(?:absurd_\w+|up)\b", alert.expr)) <= known, alert.name
        assert set(re.findall(r'check="([^"]+)"', alert.expr)) <= checks, alert.name
