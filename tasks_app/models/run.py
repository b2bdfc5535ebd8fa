"""One pass through a workflow, and the edges between its tasks."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now


class Run(models.Model):
    """One pass through a workflow; its state is that of its tasks."""

    run_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    workflow = models.CharField(max_length=100)
    label = models.CharField(
        max_length=200, blank=True, db_index=True, help_text="What the run is for, such as an observation."
    )
    params = models.JSONField(default=dict)
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]

        permissions = [("cancel_run", "Can cancel a run"), ("retry_run", "Can retry a run")]

    def __str__(self) -> str:
        return f"{self.workflow} {self.label}".strip()


class TaskDependency(models.Model):
    """An edge: the child may not be claimed before the parent has completed.

    Edges name tasks by task_id without a database constraint, so that they outlive archiving.
    """

    child_task_id = models.UUIDField()
    parent_task_id = models.UUIDField()

    class Meta:
        indexes = [models.Index(fields=["parent_task_id"], name="dependency_parent")]
        constraints = [
            models.UniqueConstraint(fields=["child_task_id", "parent_task_id"], name="dependency_once"),
            models.CheckConstraint(
                name="dependency_not_on_itself", condition=~models.Q(child_task_id=models.F("parent_task_id"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.child_task_id} after {self.parent_task_id}"
