"""What a batch system gives a worker: the job that counts as its host, and until when it has it."""

from __future__ import annotations

import math
import os
import time
from datetime import UTC, datetime, timedelta

import psutil

from tasks_app.engine.claim import TIMEOUT_MOST_SEC

JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")
"""Where Slurm, PBS, LSF and Flux name the job; each job has memory and cores of its own."""
LEAVE_SEC = 15.0
"""What a worker needs to stop attempts, store their outcomes and end, besides its drain timeout."""


def job_id() -> str:
    """Return the id of the batch system's job that this process belongs to; empty outside of one."""
    return next((os.environ[name] for name in JOB_IDS if os.environ.get(name)), "")


class TimeLimit:
    """Until when a worker may run. It drains in time, and claims nothing whose timeout ends after that.

    `limit_sec` counts from the start of the process, which it keeps when it replaces itself by a fresh one. Slurm may
    name an earlier end; nothing else does.
    """

    def __init__(self, limit_sec: float | None, *, drain_timeout_sec: float) -> None:
        ends_at = [] if limit_sec is None else [psutil.Process().create_time() + limit_sec]
        named = os.environ.get("SLURM_JOB_END_TIME", "")
        if named.isascii() and named.isdigit() and int(named) > 0:
            ends_at.append(float(named))
        left_sec = min(ends_at, default=math.inf) - time.time() - drain_timeout_sec - LEAVE_SEC
        self._drains_at = time.monotonic() + left_sec

    @property
    def left_sec(self) -> float:
        """Seconds until it drains; infinite without a limit."""
        return max(0.0, self._drains_at - time.monotonic())

    @property
    def drains_at(self) -> datetime | None:
        """When it drains, by this host's clock; none without a limit."""
        return None if math.isinf(self.left_sec) else datetime.now(UTC) + timedelta(seconds=self.left_sec)

    @property
    def timeout_most_sec(self) -> int:
        """The longest timeout that ends before it drains."""
        return int(min(self.left_sec, TIMEOUT_MOST_SEC))
