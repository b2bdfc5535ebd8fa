"""Processes that claim and complete as fast as they can: `python -m tests.tasks_app.claimers LABEL BATCH`.

Each prints the largest number of claimed tasks that it saw, and how many it completed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(environment: dict[str, str], *, processes: int, batch: int) -> list[tuple[int, int]]:
    """Run the claimers until nothing is left; return (most claimed at once, completed) of each."""
    argv = [sys.executable, "-m", "tests.tasks_app.claimers"]
    started = [
        subprocess.Popen(
            [*argv, f"claimer-{n}", str(batch)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        for n in range(processes)
    ]
    outputs = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes
    return [tuple(map(int, output.split())) for output in outputs]  # type: ignore[misc]


def main(label: str, batch: int) -> None:
    """Claim and complete until no task is pending or claimed."""
    import django

    django.setup()
    from tasks_app.engine import registry
    from tasks_app.engine.claim import claim_tasks
    from tasks_app.engine.complete import Completion, complete_task, complete_tasks
    from tasks_app.models import Task
    from tests.tasks_app.notes import NOTE, REPORT, make_worker

    registry.register(NOTE)
    worker = make_worker(label=label)
    unfinished = Task.objects.filter(status__in=("pending", "claimed"))
    most = completed = 0
    while unfinished.exists():
        claims = claim_tasks(worker, limit=batch)
        if batch < 5:
            most = max(most, Task.objects.filter(status="claimed").count())
        for claim in claims[:1]:
            complete_task(claim, {}, REPORT)
        complete_tasks([Completion(claim=claim, result={}) for claim in claims[1:]])
        completed += len(claims)
        if not claims:
            time.sleep(0.005)
    print(most, completed)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "absurd_project.settings"
    main(sys.argv[1], int(sys.argv[2]))
