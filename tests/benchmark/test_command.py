"""`manage.py absurd_benchmark` as a user runs it, only much shorter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from django.conf import settings

from absurd_project.benchmark.scratch import PREFIX

CHECKOUT = Path(__file__).resolve().parents[2]

# Sizes that show that everything works, and nothing of how fast.
SHORT = """
import dataclasses, sys
import django; django.setup()
from absurd_project.benchmark import measures
measures.QUICK = dataclasses.replace(
    measures.QUICK, rounds=1, spawn_one_sec=0.1, spawn_many=50, spawn_many_calls=1, drain_sec=0.1, drain_pending=500,
    fanout_clients=3, fanout_events=5, flood_clients=3, flood_events=150,
    profile_sec=0.1, pickups=5, feed_events=5, finished=2_000, pending=200, claims=20, stats_calls=1, page_loads=2,
    api_load_sec=1.0, churn_sec=2, worker_tasks=100, worker_sec=5.0, peer_share=0.05, peer_pickups=2,
)
from tests.benchmark import console_rows, scale
console_rows.QUICK = console_rows.Extent(tasks=500, archived=50, with_history=100, pending=50, files_of=5)
scale.SHORT = scale.Extent(rows=(100,), workers=(1,), tasks=200, idle_sec=0.5, clients=(3,), events=5)
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "absurd_benchmark", *sys.argv[1:]])
"""
LATENCIES = {"pickup_p50", "pickup_p99", "feed_p50", "feed_p99", "feed_fanout_p50", "feed_fanout_p99", "stats",
             "api_detail_p99", "api_list_p99"}  # fmt: skip
RATES = {
    "spawn_one_ours", "spawn_one_raw", "spawn_one_bare", "spawn_many_ours", "spawn_many_raw", "spawn_many_bare",
    *(f"claim_complete_b{batch}_p{processes}_{who}"
      for batch in (1, 10, 100) for processes in (1, 4) for who in ("ours", "raw", "bare")),
    "churn_first", "churn_last", "worker_x1_ours", "worker_x4_ours",
}  # fmt: skip


def begin(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SHORT, "--quick", *arguments],
        cwd=CHECKOUT,
        env=environment | {"DJANGO_SETTINGS_MODULE": "absurd_project.settings"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def scratch_databases() -> list[str]:
    database = settings.DATABASES["default"]
    with psycopg.connect(host=database["HOST"], user="postgres", dbname="postgres") as server:
        found = server.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{PREFIX}%"]).fetchall()
    return [name for (name,) in found]


def traces_of(pid: int) -> list[object]:
    """What a run has left behind: databases, directories, processes."""
    name = f"{PREFIX}{pid}"
    processes = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ABSURD_CHANNEL_PREFIX") == name:
                processes.append(process)
        except psutil.Error:
            continue
    directories = list(Path(tempfile.gettempdir()).glob(f"{name}*"))
    return [*(found for found in scratch_databases() if found.startswith(name)), *directories, *processes]


@pytest.mark.realtime
@pytest.mark.timeout(600)
def test_it_measures_everything_and_leaves_nothing_behind(live_environment, tmp_path):
    report = tmp_path / "figures.json"
    run = begin(live_environment, "--json", str(report))
    output, complaint = run.communicate(timeout=540)
    assert run.returncode == 0, complaint
    figures = json.loads(report.read_text())
    assert figures.keys() == {"rates", "ratios", "latency_ms"}
    assert figures["rates"].keys() == RATES
    assert figures["ratios"].keys() == {
        "spawn_many_vs_raw", "claim_complete_b10_vs_raw", "claim_full_vs_small", "api_list_large_vs_small"
    }  # fmt: skip
    assert figures["latency_ms"].keys() == LATENCIES
    assert all(value > 0 for group in figures.values() for value in group.values())
    for title in ("Throughput", "Where the time goes", "Real workers", "Latencies", "Targets"):
        assert title in output
    assert traces_of(run.pid) == []


@pytest.mark.realtime
@pytest.mark.timeout(300)
def test_curves_have_a_cost_at_each_point_and_a_kept_database_is_filled_once(live_environment, tmp_path):
    kept, report = f"kept_{os.getpid()}", tmp_path / "figures.json"
    page = ["--only", "console", "--page", "admin/help/", "--keep", kept, "--json", str(report)]
    try:
        outputs = []
        for more in (["--only", "scale"], []):
            run = begin(live_environment, *page, *more)
            output, complaint = run.communicate(timeout=250)
            assert run.returncode == 0, complaint
            outputs.append(output)
            figures = json.loads(report.read_text())
            assert {each["name"] for each in figures["console"]} == {"page_help", "page_document"}
            for each in figures.get("scale", ()):
                # Of so few tasks the processor time can be less than a tick of the kernel's clock.
                assert each["per_sec"] > 0 and each["database_cpu_ms"] is not None, each
                assert each["wal_bytes"] > 500 or each["what"] != "spawn many", each
        assert ["rows of the console" in output for output in outputs] == [True, False]
        assert "claim, run, complete" in outputs[0] and "message of the feed" in outputs[0]
        assert f"{PREFIX}{kept}" in scratch_databases()
    finally:
        database = settings.DATABASES["default"]
        with psycopg.connect(host=database["HOST"], user="postgres", dbname="postgres", autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {PREFIX}{kept}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_clears_away_and_reports_it(live_environment, number):
    run = begin(live_environment)
    deadline = time.monotonic() + 60
    while f"{PREFIX}{run.pid}" not in scratch_databases() or len(psutil.Process(run.pid).children()) < 4:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(number)
    _, complaint = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "interrupted; the scratch database is gone" in complaint
    assert traces_of(run.pid) == []


def test_a_role_that_may_create_no_database_gets_a_message_with_what_to_do(live_environment):
    name = f"plain_{os.getpid()}"
    database = settings.DATABASES["default"]
    with psycopg.connect(host=database["HOST"], user="postgres", dbname=database["NAME"], autocommit=True) as server:
        server.execute(f"CREATE ROLE {name} LOGIN")
        try:
            url = live_environment["ABSURD_DATABASE_URL"].replace("postgres@", f"{name}@")
            run = begin(live_environment | {"ABSURD_DATABASE_URL": url})
            _, complaint = run.communicate(timeout=60)
        finally:
            server.execute(f"DROP ROLE {name}")
    assert run.returncode == 1
    assert f"ALTER ROLE {name} CREATEDB" in complaint
    assert complaint.count("\n") == 1


def test_what_is_missing_for_a_peer_is_printed_and_costs_no_other_figure(live_environment, tmp_path):
    """An interpreter that has none of the peers: this one, isolated from what is installed."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    only_workers = SHORT.replace(
        "from django.core",
        "from absurd_project.management.commands.absurd_benchmark import Command\n"
        "from absurd_project.benchmark import feed, workers\n"
        "Command._measure_calls = lambda *_: None\n"
        "feed.measure_one_client = feed.measure_many_clients = workers.measure_pickup = lambda *_: None\n"
        "from django.core",
    )
    run = subprocess.run(
        [sys.executable, "-c", only_workers, "--quick", "--peers-python", str(bare), "--json", "-"],
        cwd=CHECKOUT,
        env=live_environment | {"DJANGO_SETTINGS_MODULE": "absurd_project.settings"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(run.stdout)["rates"].keys() == {"worker_x1_ours", "worker_x4_ours"}
    for peer in ("procrastinate", "celery", "django_tasks_db", "absurd_sdk"):
        assert f"{peer} is not measured: ModuleNotFoundError" in run.stderr
    assert run.stderr.count("pip install absurd-dsa110[bench]") == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--json", "/nowhere/figures.json"], "cannot be written"),
        (["--rounds", "3"], "unrecognized arguments"),
        (["--keep", "No-Name"], "--keep takes up to 30 letters"),
        (["--page", "sources"], "--page goes with --only console"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(live_environment, arguments, complaint):
    run = begin(live_environment, *arguments)
    _, output = run.communicate(timeout=60)
    assert run.returncode == 2
    assert complaint in output and output.count("\n") == 1
