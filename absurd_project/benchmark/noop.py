"""The tasks that the benchmark moves through the queue: a file name in, two fields out, nothing done."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tasks_app.engine import registry
from workers import diagnostics

NAME = "benchmark-noop"
IN_THREAD = "noop"
"""The diagnostic task that a worker runs in a thread of its own process."""

QUEUE = "benchmark"
ACTOR = "cli:benchmark"
PARAMS = {"ms_path": "/stage/dsa110/2026-01-15T08:30:00_sb00.ms"}
RESULT = {"ok": True, "n_rows": 4656}
PRIORITY = 5
LEASE_SEC = 60
TIMEOUT_SEC = 3600
MAX_RETRIES = 3


class NoopParams(BaseModel):
    """Params of the usual size."""

    model_config = ConfigDict(extra="forbid")
    ms_path: str


def register() -> None:
    """Make the task names known to this process."""
    diagnostics.register_all()
    registry.register(
        registry.TaskSpec(
            name=NAME,
            handler="absurd_project.benchmark.noop:never_called",
            params_model=NoopParams,
            timeout_sec=TIMEOUT_SEC,
            max_retries=MAX_RETRIES,
        )
    )


def worker_label(number: int) -> str:
    """Return the label of the n-th worker row that claims are made for."""
    return f"benchmark-{number}"
