"""Alert rules for Prometheus and a dashboard for Grafana, made from the list of metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from tasks_app.monitoring.series import SERIES, Series

RUNBOOK = "docs/monitoring.md"
JOB = "absurd"
"""The name of the job in Prometheus's scrape_configs."""
PANELS_A_ROW, COLUMNS, HEIGHT = 3, 24, 8
UNITS = {"_seconds": "s", "_bytes": "bytes", "_ratio": "percentunit", "_rate": "percentunit", "_per_second": "cps"}
"""Grafana's units by the end of a name."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One rule; the runbook has a heading of its name."""

    name: str
    expr: str
    for_: str
    severity: Literal["critical", "warning"]
    summary: str


def of_check(name: str, check: str, summary: str, *, for_: str = "2m") -> Alert:
    """Return the alert of a check of health, whose thresholds are those of ABSURD_HEALTH."""
    expr = f'absurd_health_check{{check="{check}"}} > 0'
    return Alert(name=name, expr=expr, for_=for_, severity="warning", summary=summary)


LIVE = 'sum(absurd_workers{state=~"active|idle|draining|paused"})'
ALERTS: list[Alert] = [
    Alert(name="AbsurdDown", expr=f'up{{job="{JOB}"}} == 0', for_="2m", severity="critical",
          summary="The web process of {{ $labels.instance }} gives no metrics"),
    Alert(name="AbsurdUnhealthy", expr="absurd_health_status == 2", for_="2m", severity="critical",
          summary="A check of health is bad"),
    Alert(name="AbsurdNoWorkers", expr=f"{LIVE} == 0", for_="2m", severity="critical",
          summary="No worker is alive: nothing runs"),
    of_check("AbsurdQueueDeep", "depth", "Too many tasks are claimable", for_="10m"),
    of_check("AbsurdTasksWait", "oldest pending", "The oldest claimable task has waited too long"),
    of_check("AbsurdFailures", "failures", "Tasks fail"),
    of_check("AbsurdQuarantine", "quarantine", "A task was quarantined after three attempts that died"),
    of_check("AbsurdRunsStalled", "stalled runs", "A run waits for a task that failed"),
    of_check("AbsurdWorkersLost", "lost workers", "A worker has stopped reporting"),
    of_check("AbsurdCrashLoop", "crash loops", "A process ends again and again"),
    of_check("AbsurdLeasesExpired", "stalled claims", "Leases have expired and no process returns the tasks"),
    of_check("AbsurdFeedLate", "feed", "Events reach the live feed late"),
    of_check("AbsurdVacuumDelayed", "old transactions", "An old transaction delays vacuum", for_="5m"),
    Alert(name="AbsurdDiskFull", expr="absurd_disk_free_ratio < 0.05", for_="2m", severity="critical",
          summary="{{ $labels.path }} has {{ $value | humanizePercentage }} free"),
    Alert(name="AbsurdDiskFilling", for_="30m", severity="warning",
          expr="predict_linear(absurd_disk_free_ratio[6h], 24 * 3600) < 0 and absurd_disk_free_ratio < 0.3",
          summary="{{ $labels.path }} is full within a day at the pace of the last six hours"),
    Alert(name="AbsurdMemoryLow", for_="5m", severity="warning",
          expr='absurd_host_memory_bytes{kind="available"} / ignoring(kind) '
               'absurd_host_memory_bytes{kind="total"} < 0.05',
          summary="Less than 5 % of the memory of {{ $labels.instance }} is available"),
    of_check("AbsurdBackupOld", "backups", "The newest backup of the database is too old", for_="10m"),
    Alert(name="AbsurdWorkerMemoryLow", for_="5m", severity="warning",
          expr='absurd_worker_host_memory_bytes{kind="available"} / ignoring(kind) '
               'absurd_worker_host_memory_bytes{kind="total"} < 0.05',
          summary="Less than 5 % of the memory of the worker host {{ $labels.host }} is available"),
    Alert(name="AbsurdConnectionsShort", for_="5m", severity="warning",
          expr="absurd_database_connections / absurd_database_connections_most > 0.85",
          summary="PostgreSQL has few connections left"),
]  # fmt: skip
"""Applications add theirs when they start."""


def rules() -> str:
    """Return the file of alert rules."""
    lines = ["# Written by `manage.py absurd_alerts`; change tasks_app/monitoring/alerts.py.", "groups:"]
    lines += ["  - name: absurd", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expr)}",
            f"        for: {alert.for_}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary, ensure_ascii=False)}",
            f"          runbook: {RUNBOOK}#{alert.name.lower()}",
        ]
    return "\n".join(lines) + "\n"


def dashboard() -> str:
    """Return the dashboard, a row for each group of metrics and a panel for each metric."""
    panels: list[Mapping[str, Any]] = []
    top = 0
    rows = {title: list(found) for title, found in groupby(sorted(SERIES, key=_position), key=lambda each: each.row)}
    for title, found in rows.items():
        panels.append(
            {"type": "row", "title": title, "id": len(panels) + 1, "gridPos": _place(top, 0, COLUMNS, 1), "panels": []}
        )
        top += 1
        for number, series in enumerate(found):
            line, column = divmod(number, PANELS_A_ROW)
            width = COLUMNS // PANELS_A_ROW
            panels.append(_panel(series, len(panels) + 1, _place(top + line * HEIGHT, column * width, width, HEIGHT)))
        top += HEIGHT * (1 + (len(found) - 1) // PANELS_A_ROW)
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    whole = {
        "uid": "absurd",
        "title": "Absurd",
        "tags": ["absurd"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [source]},
        "panels": panels,
    }
    return json.dumps(whole, indent=1) + "\n"


def _position(series: Series) -> int:
    order: Iterable[str] = dict.fromkeys(each.row for each in SERIES)
    return list(order).index(series.row)


def _place(top: int, left: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(series: Series, number: int, place: Mapping[str, int]) -> Mapping[str, Any]:
    is_counter = series.kind == "counter"
    expr = f"rate({series.full_name}_total[5m])" if is_counter else series.full_name
    unit = next((unit for end, unit in UNITS.items() if series.name.endswith(end) and not is_counter), "short")
    legend = " ".join(f"{{{{{label}}}}}" for label in series.labels) or series.name
    return {
        "type": "timeseries",
        "id": number,
        "title": series.name.replace("_", " ") + (" a second" if is_counter else ""),
        "description": series.text,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [{"refId": "A", "expr": expr, "legendFormat": legend}],
    }
