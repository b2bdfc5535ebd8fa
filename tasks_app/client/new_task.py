"""What can be said of a task that is to be."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from pydantic import Field
from pydantic_core import to_jsonable_python

from tasks_app.engine.options import TaskOptions


class NewTask(TaskOptions):
    """One task to spawn; what is left out, the queue and the task name decide. Raises ParamsInvalid."""

    idempotency_key: str = Field(default_factory=lambda: f"client-{uuid4()}", min_length=1, max_length=200)
    """A spawn that is repeated with the same key finds the task that the first one made."""

    def body(self, default_queue: str | None) -> dict[str, Any]:
        """Return what the API is sent. Raises ValueError for params that JSON cannot hold."""
        body = self.model_dump(mode="json", exclude_defaults=True, exclude={"idempotency_key", "params"})
        queue = {"queue_name": self.queue_name or default_queue} if self.queue_name or default_queue else {}
        return {**body, **queue, "params": to_jsonable_python(self.params)}
