"""Which operations of a migration a program of the release before cannot live with, while it still runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.db import models
from django.db.migrations import operations
from django.db.models.fields import NOT_PROVIDED

CONTRACT = "contract"
"""In the name of a migration that takes away what the release before it no longer uses."""
TAKES_AWAY = (
    operations.RemoveField,
    operations.RenameField,
    operations.DeleteModel,
    operations.RenameModel,
    operations.AlterModelTable,
)


def faults_of(name: str, found: Iterable[operations.base.Operation]) -> list[str]:
    """Return what is wrong with a migration that is applied while programs of the release before run."""
    return [] if CONTRACT in name else list(_faults(found))


def _faults(found: Iterable[operations.base.Operation]) -> Iterator[str]:
    for each in found:
        field = getattr(each, "field", None)
        must_be_given = field is not None and not _may_be_left_out(field)
        if isinstance(each, operations.AddField) and must_be_given:
            yield f"{each.describe()}: give it a db_default or let it be null, for rows of old programs"
        elif isinstance(each, operations.AlterField) and must_be_given:
            yield f"{each.describe()}: old programs may write what it no longer takes; do it in a {CONTRACT} migration"
        elif isinstance(each, TAKES_AWAY):
            yield f"{each.describe()}: old programs still use it; do it in a {CONTRACT} migration of the next release"


def _may_be_left_out(field: models.Field) -> bool:
    left_out = field.null or field.db_default is not NOT_PROVIDED
    return bool(left_out or field.many_to_many or field.primary_key)
