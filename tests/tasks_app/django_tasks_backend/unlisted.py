"""A Django task in a module that the settings do not name."""

from __future__ import annotations

from django_tasks import task


@task
def add(left: int, right: int) -> int:
    return left + right
