"""A task that is to be spawned: its options, and what only the queue's own code says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self
from uuid import UUID

from tasks_app.engine.bindings import Binding, Gather
from tasks_app.engine.options import PARTS, TaskOptions
from tasks_app.models import Run, Task
from tasks_app.task_ids import new_task_id


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """Options, with a place in a run and among other tasks."""

    options: TaskOptions
    task_id: UUID = field(default_factory=new_task_id)
    after: Sequence[UUID] = ()
    """Further tasks that it waits for, however many."""
    bindings: Mapping[str, Binding | Gather] = field(default_factory=dict)
    """Params that take their values from parents' results; the parents become dependencies."""
    run: Run | None = None
    stage: str = ""
    path: str = ""
    """How faults name it among the others of its call."""

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Return a task from options and the rest in one row. Raises ParamsInvalid for options that do not fit."""
        own = {name: given.pop(name) for name in _OWN if name in given}
        return cls(options=TaskOptions(**given), **own)

    def problem(self, path: str, message: str) -> dict[str, str]:
        """Return a fault of this task, by the path of one of its fields."""
        return {"path": f"{self.path}.{path}" if self.path else path, "message": message}

    @property
    def parents(self) -> list[UUID]:
        """The tasks that it names to wait for, once each; the runs of its options not counted."""
        bound = (parent for binding in self.bindings.values() for parent in binding.parents)
        return list(dict.fromkeys([*self.options.depends_on, *self.after, *bound]))


def options_of(task: Task, **changed: Any) -> TaskOptions:
    """Return the options for a task like one that is stored, with some of them changed; moments are not taken over."""
    same = {name: getattr(task, name) for name in PARTS}
    return TaskOptions(**{**same, "task_name": task.task_name, "queue_name": task.queue_id, **changed})


_OWN = tuple(each.name for each in fields(NewTask) if each.name != "options")
