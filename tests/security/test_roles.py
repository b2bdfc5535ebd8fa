"""The groups at an upgrade, by the migrate command itself."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

pytestmark = pytest.mark.django_db


def permissions_of(group: str) -> set[str]:
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


def forget(*codenames: str) -> None:
    """Make the database one of a version that did not have these permissions."""
    Permission.objects.filter(codename__in=codenames).delete()


def migrate() -> None:
    call_command("migrate", verbosity=0)


def test_a_permission_that_comes_with_an_upgrade_reaches_the_groups_that_are_meant_to_have_it():
    forget("order_worker", "view_reservation")
    migrate()
    assert "order_worker" in permissions_of("Operator")
    assert "view_reservation" in permissions_of("Viewer")
    assert {"order_worker", "view_reservation"} <= permissions_of("Administrator")
    assert "order_worker" not in permissions_of("Viewer")


def test_what_an_administrator_took_away_or_gave_stays_so():
    forget("order_worker")
    operators = Group.objects.get(name="Operator")
    operators.permissions.remove(Permission.objects.get(codename="freeze_everything"))
    operators.permissions.add(Permission.objects.get(codename="change_schedule"))
    migrate()
    migrate()
    assert "freeze_everything" not in permissions_of("Operator")
    assert {"order_worker", "change_schedule"} <= permissions_of("Operator")


def test_a_group_that_was_deleted_comes_back_whole():
    Group.objects.filter(name="Operator").delete()
    migrate()
    assert {"view_task", "cancel_task", "order_worker"} <= permissions_of("Operator")
