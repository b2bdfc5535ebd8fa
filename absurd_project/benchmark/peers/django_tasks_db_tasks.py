"""The tasks of the django-tasks-db peer; imported only after Django is configured for it."""

from __future__ import annotations

from django_tasks import task

from absurd_project.benchmark.peers import desk


@task()
def noop(ms_path: str) -> None:
    """Do nothing."""


@task()
def stamped(spawned_at: float) -> None:
    """Note when it was picked up."""
    desk.note_pickup(spawned_at)
