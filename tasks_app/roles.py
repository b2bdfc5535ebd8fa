"""The three groups of people, made once after the first migration; what an administrator changes later stays."""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions

OPERATOR_VERBS = (
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
    "set_limit",
    "run_schedule",
    "release_observation",
)


def make_groups(*, using: str, **_: Any) -> None:
    """Create the groups Viewer, Operator and Administrator with their permissions, where they do not exist."""
    from django.contrib.auth.models import Group, Permission

    for label in ("tasks_app", "pipeline_app"):
        create_permissions(installed.get_app_config(label), verbosity=0, using=using)
    ours = Permission.objects.using(using).filter(content_type__app_label__in=("tasks_app", "pipeline_app"))
    view = ours.filter(codename__startswith="view_")
    grants = {
        "Viewer": view,
        "Operator": view | ours.filter(codename__in=OPERATOR_VERBS),
        "Administrator": Permission.objects.using(using).all(),
    }
    for name, permissions in grants.items():
        group, created = Group.objects.using(using).get_or_create(name=name)
        if created:
            group.permissions.set(permissions)
