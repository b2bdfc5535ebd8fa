"""A run as the API shows it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tasks_app.models import Run
from tasks_app.workflows.graph import RunGraph
from tasks_app.workflows.state import RunState


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A run with what is worked out of its tasks."""

    run: Run
    state: RunState
    graph: RunGraph | None = None

    @property
    def blocked(self) -> list[UUID]:
        """What is behind the trouble."""
        return self.graph.behind(self.state.trouble.task_id) if self.graph and self.state.trouble else []
