"""The three groups of people, made once after the first migration; what an administrator changes later stays.

A permission that comes with an upgrade is granted to the groups that are meant to have it. What is new is known only
before the migration, so it is noted then; one that was there already, and that a group lacks, was taken away.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import connections

OPERATOR_PERMISSIONS = (
    "spawn_task",
    "cancel_task",
    "retry_task",
    "reprioritize_task",
    "cancel_run",
    "retry_run",
    "requeue_task",
    "respawn_task",
    "pause_queue",
    "order_worker",
    "freeze_everything",
    "run_schedule",
    "add_acknowledgement",
    "release_observation",
    "refuse_calibration",
    "vote_image",
)

_known: dict[str, set[int]] = {}
"""The ids of the permissions that each database had before the migration that is under way."""


def note_permissions(*, using: str, **_: Any) -> None:
    """Remember which permissions there are before a migration."""
    from django.contrib.auth.models import Permission

    there = Permission._meta.db_table in connections[using].introspection.table_names()
    _known[using] = set(Permission.objects.using(using).values_list("pk", flat=True)) if there else set()


def make_groups(*, using: str, **_: Any) -> None:
    """Create the groups Viewer, Operator and Administrator, and grant those that exist what is new."""
    from django.contrib.auth.models import Group, Permission

    for config in installed.get_app_configs():
        create_permissions(config, verbosity=0, using=using)
    everything = Permission.objects.using(using).all()
    ours = everything.filter(content_type__app_label__in=("tasks_app", "pipeline_app"))
    view = ours.filter(codename__startswith="view_").exclude(codename="view_apikey")
    grants = {
        "Viewer": view,
        "Operator": view | ours.filter(codename__in=OPERATOR_PERMISSIONS),
        "Administrator": everything.exclude(content_type__app_label="axes", codename__regex="^(add|change)_"),
    }
    known = _known.pop(using, None)
    for name, permissions in grants.items():
        group, created = Group.objects.using(using).get_or_create(name=name)
        if created:
            group.permissions.set(permissions)
        elif known is not None:
            group.permissions.add(*permissions.exclude(pk__in=known))
