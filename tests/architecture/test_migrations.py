"""Migrations after the first only add, so that workers and web of the release before go on while they are applied."""

from __future__ import annotations

import pytest
from django.db import models
from django.db.migrations import operations
from django.db.migrations.loader import MigrationLoader

from tests.architecture.migrations import faults_of

OURS = ("tasks_app", "pipeline_app")
ADDED = {"model_name": "task", "name": "extra"}


def test_every_migration_after_the_first_lets_old_programs_run():
    disk = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    later = {key: each for key, each in disk.items() if key[0] in OURS and not each.initial}
    assert {key[0] for key in disk} >= set(OURS)
    assert {key: faults for key, each in later.items() if (faults := faults_of(key[1], each.operations))} == {}


@pytest.mark.parametrize(
    "operation",
    [
        operations.AddField(**ADDED, field=models.IntegerField()),
        operations.AddField(**ADDED, field=models.TextField(default="")),  # Django drops this default from the table
        operations.AlterField(**ADDED, field=models.CharField(max_length=3)),
        operations.RemoveField(**ADDED),
        operations.RenameField("task", "extra", "other"),
        operations.DeleteModel("task"),
        operations.RenameModel("task", "job"),
    ],
)
def test_what_breaks_old_programs_is_found_and_waits_for_the_next_release(operation: operations.base.Operation):
    assert len(faults_of("0002_more", [operation])) == 1
    assert faults_of("0003_contract_extra", [operation]) == []


@pytest.mark.parametrize(
    "operation",
    [
        operations.AddField(**ADDED, field=models.IntegerField(null=True)),
        operations.AddField(**ADDED, field=models.TextField(db_default="")),
        operations.CreateModel("more", [("id", models.BigAutoField(primary_key=True))]),
        operations.AddIndex("task", models.Index(fields=["name"], name="more")),
    ],
)
def test_what_adds_is_allowed(operation: operations.base.Operation):
    assert faults_of("0002_more", [operation]) == []
