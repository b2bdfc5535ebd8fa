"""Files that stages made, with where they come from."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from pipeline_app.models.observation import Observation


class Product(models.Model):
    """One published file or directory. The row is the publication; the path is never written again.

    The task and run are named by id without a database constraint, so that products outlive archived tasks.
    """

    task_id = models.UUIDField(db_index=True)
    run_id = models.UUIDField(null=True, blank=True, db_index=True)
    attempt = models.PositiveIntegerField()
    task_name = models.CharField(max_length=100)
    observation = models.ForeignKey(
        Observation, null=True, blank=True, on_delete=models.PROTECT, related_name="products"
    )
    kind = models.CharField(max_length=50)
    path = models.CharField(max_length=1000, unique=True)
    size_bytes = models.BigIntegerField(null=True, blank=True)
    checksum = models.CharField(max_length=200, blank=True)
    metrics = models.JSONField(default=dict)
    verdict = models.CharField(max_length=10, blank=True)
    inputs = models.JSONField(default=list, help_text="Paths that it was made from.")
    params = models.JSONField(default=dict, help_text="The task's params as the attempt got them.")
    versions = models.JSONField(default=dict, help_text="Software that made it.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["kind", "-id"], name="product_kind")]

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"
