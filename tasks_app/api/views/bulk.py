"""One verb on all tasks that fit a filter: first looked at, then done with the token of that look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Count
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api import confirming
from tasks_app.api.bodies import body_of
from tasks_app.api.bulk_serializers import BulkResultSerializer, BulkSerializer
from tasks_app.api.filters import tasks_that_fit
from tasks_app.api.lists import OPERATION_SEC, bounded
from tasks_app.api.permissions import check
from tasks_app.api.views.request import actor_of
from tasks_app.auth.requirements import BULK, Need
from tasks_app.models import Task
from tasks_app.operations import bulk

SALT = "tasks_app.bulk"
SAMPLE = 20


class BulkView(APIView):
    """Does one thing to all tasks that fit a filter."""

    needs = {"POST": BULK}

    @extend_schema(
        operation_id="bulk",
        request=BulkSerializer,
        responses=BulkResultSerializer,
        description=(
            "A dry run, which is the default, counts the tasks and returns a token. The same request with that token "
            "and `dry_run: false` does it, a hundred tasks at a time; it is refused with 409 when more than a tenth "
            "and more than two tasks match the filter in addition since the dry run."
        ),
    )
    def post(self, request: Request) -> Response:
        wanted = body_of(request, BulkSerializer)
        verb = bulk.VERBS[wanted["verb"]]
        check(request, Need(scope="operate", permission=verb.permission))
        tasks = tasks_that_fit(wanted["filter"])
        with bounded():
            by_status = tasks.order_by().values_list("status").annotate(n=Count("pk"))
            statuses: dict[str, int] = dict(sorted(by_status))
        count, actor = sum(statuses.values()), actor_of(request)
        told: dict[str, Any] = {"dry_run": wanted["dry_run"], "verb": verb.name, "count": count, "statuses": statuses}
        agreed = _agreement(wanted, actor)
        if wanted["dry_run"]:
            told["token"] = confirming.token_of(SALT, agreed, count)
            told["sample"] = _sample(verb, tasks)
        else:
            confirming.check(SALT, wanted["token"], agreed, count)
            ids = bulk.ids_of(tasks, children_first=verb.children_first)
            told |= vars(bulk.carry_out(verb, ids, actor=actor, given=wanted, limit_sec=OPERATION_SEC))
        return Response(BulkResultSerializer(told).data)


def _sample(verb: bulk.Verb, tasks: Any) -> list[Task]:
    found = list(tasks.order_by("id").defer("params", "result", "error", "bindings")[:SAMPLE])
    for task in found:
        task.refusal = verb.refusal(task)
    return found


def _agreement(wanted: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """Return all that must be the same in the dry run and in the deed."""
    said = {name: wanted.get(name) for name in ("verb", "filter", "priority", "force")}
    return {**said, "caller": actor}
