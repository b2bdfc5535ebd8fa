from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tasks_app.maintenance.sweeper import return_lost
from tasks_app.models import Task
from tasks_app.postgresql import clock
from tests.tasks_app.notes import claim_one, make_worker, spawn_note

ROOT = Path(__file__).resolve().parents[3]
FROZEN = """
import os, signal, django
os.environ["DJANGO_SETTINGS_MODULE"] = "absurd_project.settings"
django.setup()
from django.db import transaction
from tasks_app.models import Task
with transaction.atomic():
    Task.objects.select_for_update().get()
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.django_db(transaction=True)
def test_a_process_frozen_inside_a_transaction_keeps_no_task_for_ever(live_environment):
    task = spawn_note()
    claim_one(make_worker())
    Task.objects.filter(pk=task.pk).update(lease_sec=1, lease_until=clock.now() - timedelta(seconds=1))
    environment = live_environment | {"ABSURD_IDLE_TRANSACTION_SEC": "2", "PYTHONPATH": str(ROOT)}
    frozen = subprocess.Popen(
        [sys.executable, "-c", FROZEN], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert frozen.stdout.readline() == "locked\n"
        assert return_lost(watched_sec=60) == 0
        deadline = time.monotonic() + 10
        while not return_lost(watched_sec=60):
            assert time.monotonic() < deadline, "the frozen process still holds the row"
            time.sleep(0.1)
    finally:
        frozen.kill()
        frozen.communicate()
    assert Task.objects.get(pk=task.pk).failure_class == "lost"
