"""Who this worker is: a row of its own for each boot, so that a restart never hides a dead predecessor."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

from tasks_app.engine import registry
from tasks_app.models import Worker
from tasks_app.version import commit, project_version
from workers.options import Options

HEARTBEAT_SEC = 10


@cache
def host_id() -> str:
    """Return what all workers of one host and boot share, and no others. Each Slurm allocation counts as a host."""
    parts = [platform.node(), *filter(None, [os.environ.get("SLURM_JOB_ID")])]
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            parts.append(Path(path).read_text().strip())
        except OSError:
            continue
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def describe(options: Options) -> Worker:
    """Return the unsaved row of this worker."""
    return Worker(
        label=options.worker_id,
        host=platform.node(),
        host_id=host_id(),
        pid=os.getpid(),
        version="+".join(filter(None, (project_version()[1], commit())))[:50],
        queues=list(options.queue_names),
        task_names=registry.names(),
        concurrency=options.concurrency,
        memory_gb=options.memory_gb,
        cores=options.cores,
        heartbeat_sec=HEARTBEAT_SEC,
    )
