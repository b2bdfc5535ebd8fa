"""What the views of the pipeline share: rows by the id in the path."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models
from rest_framework.exceptions import NotFound

M = TypeVar("M", bound=models.Model)


def found(rows: models.QuerySet[M, Any], pk: int) -> M:
    """Return the row. Raises NotFound."""
    row: M | None = rows.filter(pk=pk).first()
    if row is None:
        raise NotFound(f"there is no {rows.model._meta.verbose_name} {pk}")
    return row
