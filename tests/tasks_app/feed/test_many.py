"""Many clients of one real web process hear every event, in order."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.models import TaskEvent
from tests.daphne_server import CHECKOUT, serving

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS, EVENTS, PATIENCE_SEC = 200, 2_000, 150


@pytest.mark.realtime
def test_each_of_200_clients_hears_each_of_2000_events_in_order(live_environment):
    request = TaskOptions(task_name="note", params={"text": "a"})
    with serving(live_environment) as port:
        arguments = [str(number) for number in (port, CLIENTS, EVENTS, PATIENCE_SEC)]
        argv = [sys.executable, "-m", "absurd_project.benchmark.feed_clients", *arguments]
        with subprocess.Popen(argv, cwd=CHECKOUT, env=live_environment, stdout=subprocess.PIPE, text=True) as audience:
            assert audience.stdout is not None
            assert audience.stdout.readline() == "ready\n"
            for _ in range(20):
                spawn_many([request] * (EVENTS // 20), actor="user:test")
            heard = json.loads(audience.stdout.readline())
    wanted = list(TaskEvent.objects.order_by("id").values_list("id", flat=True))
    assert len(wanted) == EVENTS
    assert len(heard) == CLIENTS
    for each in heard:
        assert not each["left_out"]
        assert each["numbers"] == wanted, f"{len(each['numbers'])} of {EVENTS}"
