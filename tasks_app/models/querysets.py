"""Every filter over tasks, named by the state it selects."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Self

from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models.functions import Cast, Collate, Reverse, Right
from django.db.models.lookups import EndsWith, StartsWith

from tasks_app.postgresql.clock import DatabaseNow

FUTURES, WAITINGS = (1, 3, 5, 7), (2, 3, 6, 7)
"""Values of `Task.hold` with the bit for the future, and with that for dependencies, as partial indexes have them."""


ID_END_CHARS = 12
SHORT_CHARS = 8
ID_END = Collate(Reverse(Right(Cast("task_id", models.TextField()), ID_END_CHARS)), "C")
"""The last digits of a task's id from back to front: an index finds what begins with what an id ends with."""


def short_id(task_id: object) -> str:
    """Return the end of an id, which is random; the beginning is the same for all that are made within a minute."""
    return str(task_id)[-SHORT_CHARS:]


def id_ends_with(text: str) -> models.Q:
    """Return the condition that a task id ends as written, in lower case; by the index over its end."""
    ends = models.Q(StartsWith(ID_END, text[-ID_END_CHARS:][::-1]))
    return ends if len(text) <= ID_END_CHARS else ends & models.Q(EndsWith(Cast("task_id", models.TextField()), text))


ERROR_WORDS = models.Func(
    models.F("error"),
    template="to_tsvector('simple'::regconfig, "
    "regexp_replace(left(split_part(%(expressions)s, chr(10), 1), 300), '[^a-zA-Z0-9]+', ' ', 'g'))",
    output_field=SearchVectorField(),
)
"""The words of the first line of an error, which names the first cause; an index finds them."""


class Matches(models.Func):
    """Whether words are as a query of them wants."""

    arg_joiner = " @@ "
    template = "%(expressions)s"
    output_field = models.BooleanField()


def error_has_words(text: str) -> models.Q:
    """Return the condition that the first line of the error has words that begin as those of the text, all of them."""
    words = re.findall("[a-zA-Z0-9]+", text)
    if not words:
        return models.Q(pk__in=())
    wanted = " & ".join(f"{word}:*" for word in words)
    query = models.Func(models.Value(wanted), template="to_tsquery('simple'::regconfig, %(expressions)s)")
    return models.Q(Matches(ERROR_WORDS, query), error__isnull=False)


class TaskQuerySet(models.QuerySet[Any]):
    """Selections of tasks. The row type stays open, because the model is defined on top of this class."""

    def with_names(self) -> Self:
        """Bring the names of their worker and their run along, without loading either."""
        return self.annotate(worker_label=models.F("worker__label"), run_uuid=models.F("run__run_id"))

    def in_queue(self, name: str) -> Self:
        """Tasks of one queue."""
        return self.filter(queue_id=name)

    def claimable(self) -> Self:
        """Pending tasks that nothing holds back, in the order in which they are claimed."""
        return self.filter(status="pending", hold=0, queue__paused_at=None).order_by("rank", "id")

    def expired_leases(self) -> Self:
        """Claimed tasks whose worker has not renewed in time, by the database clock."""
        return self.filter(status="claimed", lease_until__lt=DatabaseNow())

    def waiting(self) -> Self:
        """Pending tasks that wait for other tasks."""
        return self.filter(status="pending", hold__in=WAITINGS)

    def due(self) -> Self:
        """Pending tasks that are held for a moment that has come."""
        return self.filter(status="pending", hold__in=FUTURES, runnable_at__lte=DatabaseNow())

    def overdue(self) -> Self:
        """Pending tasks that were never claimed and waited longer than they may."""
        return self.filter(status="pending", expires_at__lte=DatabaseNow(), claim_epoch=0)

    def past_deadline(self) -> Self:
        """Pending tasks whose total budget has run out."""
        return self.filter(status="pending", deadline_at__lte=DatabaseNow())

    def finished_before(self, moment: datetime) -> Self:
        """Tasks that reached a terminal status before the moment."""
        return self.filter(completed_at__lt=moment)
