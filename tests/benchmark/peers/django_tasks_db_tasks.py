"""The tasks of the django-tasks-db peer; imported only after Django is configured for it."""

from __future__ import annotations

from django_tasks import task

from tests.benchmark.peers import peer_program


@task()
def noop(ms_path: str) -> None:
    """Do nothing."""


@task()
def stamped(spawned_at: float) -> None:
    """Note when it was picked up."""
    peer_program.note_pickup(spawned_at)
