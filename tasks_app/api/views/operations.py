"""Operations over HTTP: each view is made from the catalogue's description of its operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from django.db.models import Count
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema, inline_serializer
from pydantic import Field, create_model
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.access import check
from tasks_app.api.lists import OPERATION_SEC, bounded
from tasks_app.api.requests import actor_of, refuse_unknown
from tasks_app.api.serializers import BulkResultSerializer
from tasks_app.errors import ParamsInvalid
from tasks_app.models import Task
from tasks_app.operations import bulk
from tasks_app.operations.catalogue import TASK_OPERATIONS
from tasks_app.operations.operation import (
    REASON_CHARS,
    Operation,
    Pace,
    Params,
    PreviewedOperation,
    check_token,
    key_of,
    token_of,
)
from tasks_app.operations.routes import route_of
from tasks_app.operations.selection import tasks_matching
from tasks_app.operations.tasks import retry

SAMPLE_TASKS = 20
TOKEN_CHARS = 20_000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a view answers: the key that its path names, and what becomes of the result."""

    key: Callable[..., Any] = lambda *parts: key_of(parts)
    """Called with the parts of the path, in order. Raises AbsurdError."""
    response: Callable[[Any, Any], Response]
    """Called with the key and the result; of a previewed operation, with the counts or None for a dry run."""
    shapes: Mapping[int, Any]
    """The serializers by status; of a previewed operation, of what is shown beside the counts."""
    check: Callable[[Request, Any], object] = lambda _request, _key: None
    """Called with the key before anything is done. Raises PermissionDenied."""
    schema: Mapping[str, Any] = field(default_factory=dict)
    """More for the OpenAPI document."""


def shown_by(
    serializer: type[serializers.BaseSerializer[Any]],
    found: Callable[[Any, Any], Any] = lambda _, result: result,
    **more: Any,
) -> Answer:
    """Return the answer that shows what is found of the key and the result."""
    return Answer(
        response=lambda key, result: Response(serializer(found(key, result)).data), shapes={200: serializer}, **more
    )


def nothing() -> Answer:
    """Return the answer without a body."""
    return Answer(response=lambda *_: Response(status=204), shapes={204: None})


def operation_view(operation: Operation[Any, Any], answer: Answer, base: type[APIView] = APIView) -> type[APIView]:
    """Return the view of an operation that has a path of its own."""
    members = {
        "__doc__": operation.__doc__,
        "needs": {**getattr(base, "needs", {}), "POST": operation.need},
        "post": handler_of(operation, answer),
    }
    return type(f"{_component(operation)}View", (base,), members)


def operation_id(operation: Operation[Any, Any]) -> str:
    """Return the operation's name in the OpenAPI document, such as cancel_task."""
    suffix = "" if operation.target_kind == "system" else f"_{operation.target_kind}"
    return operation.name.replace("-", "_") + suffix


def _component(operation: Operation[Any, Any]) -> str:
    """Return the operation's name in the components of the OpenAPI document, such as CancelTask."""
    return operation_id(operation).title().replace("_", "")


def handler_of(operation: Operation[Any, Any], answer: Answer) -> Callable[..., Response]:
    """Return the method of a view that carries the operation out."""
    by_deletion = route_of(operation.target_kind, operation.name).method == "DELETE"
    shape: Any = _request_model(operation) if isinstance(operation, PreviewedOperation) else operation.params_model
    responses: Any = dict(answer.shapes)
    if isinstance(operation, PreviewedOperation):
        shown = _preview_shape(operation, next(iter(answer.shapes.values())))
        responses = dict.fromkeys(answer.shapes, shown)

    def handle(_view: APIView, request: Request, **path: str) -> Response:
        given = _given_with_deletion(request) if by_deletion else _body(request)
        wanted: Any = shape.parse(given)
        key = answer.key(*path.values())
        answer.check(request, key)
        if isinstance(operation, PreviewedOperation):
            return _preview_or_act(operation, answer, key, wanted, actor_of(request))
        return answer.response(key, operation.act(key, wanted, actor_of(request)))

    about: dict[str, Any] = {"description": operation.effect, **answer.schema}
    if by_deletion:
        about["parameters"] = [OpenApiParameter("reason", str)]
    else:
        about["request"] = shape
    return cast(
        Callable[..., Response],
        extend_schema(operation_id=operation_id(operation), responses=responses, **about)(handle),
    )


def _body(request: Request) -> dict[str, Any]:
    return cast(dict[str, Any], request.data or {})


def _given_with_deletion(request: Request) -> dict[str, Any]:
    """Return the body of a DELETE, or the reason in its query from callers who cannot send one. Raises BadQuery."""
    refuse_unknown(request.query_params, {"reason"})
    reason = request.query_params.get("reason", "")[:REASON_CHARS]
    given = _body(request)
    return {**given, "reason": given.get("reason") or reason} if reason else given


# Dry runs


def _dry_run(default: bool) -> dict[str, Any]:
    """Return the fields of a body that is a dry run or carries the token of one."""
    about = "Of a dry run of the same request, for ten minutes."
    return {
        "dry_run": (bool, Field(default=default, description="Only count what would be done.")),
        "token": (str | None, Field(default=None, max_length=TOKEN_CHARS, description=about)),
    }


def _request_model(operation: PreviewedOperation[Any, Any]) -> type[Params]:
    name, fields = f"{_component(operation)}Request", _dry_run(operation.token_required)
    return create_model(name, __base__=operation.params_model, __doc__=operation.effect, **fields)


def _require(wanted: Any, *names: str) -> None:
    """Raise ParamsInvalid for what is not given although the request is no dry run."""
    if missing := [name for name in names if not wanted.dry_run and not getattr(wanted, name)]:
        raise ParamsInvalid([{"path": name, "message": "required unless dry_run"} for name in missing])


def _decisive(wanted: Params) -> dict[str, Any]:
    """Return the params that must be the same in the dry run and in the request with its token."""
    return wanted.model_dump(mode="json", exclude={"reason", "dry_run", "token"})


def _preview_shape(operation: PreviewedOperation[Any, Any], beside: Mapping[str, Any]) -> Any:
    """Return the serializer of counts with what is shown beside them."""
    name = _component(operation)
    fields: dict[str, Any] = {
        field_name: (serializers.BooleanField if found.annotation is bool else serializers.IntegerField)(
            help_text=found.description
        )
        for field_name, found in operation.counts_model.model_fields.items()
    }
    return inline_serializer(
        f"{name}Result",
        {
            "dry_run": serializers.BooleanField(),
            "counts": inline_serializer(f"{name}Counts", fields),
            "token": serializers.CharField(required=False, help_text="Of a dry run: valid for ten minutes."),
            **beside,
        },
    )


def _preview_or_act(
    operation: PreviewedOperation[Any, Any], answer: Answer, key: Any, wanted: Any, actor: str
) -> Response:
    acting = not wanted.dry_run
    if operation.token_required:
        _require(wanted, "token", "reason")
    agreed = {"operation": operation_id(operation), "target": str(key), **_decisive(wanted), "caller": actor}
    counts: Any = None
    if not acting or wanted.token:
        with bounded():
            counts = operation.preview(key, wanted)
    body: dict[str, Any] = {"dry_run": wanted.dry_run}
    if not acting:
        body["token"] = token_of(agreed, operation.affected(counts, wanted))
    else:
        if wanted.token:
            check_token(wanted.token, agreed, operation.affected(counts, wanted))
        counts = operation.carry_out(key, wanted, actor, Pace(limit_sec=OPERATION_SEC))
    shown = answer.response(key, counts if acting else None)
    return Response({**body, "counts": counts.model_dump(), **shown.data}, status=shown.status_code)


# In bulk


def _bulk_model(name: str, model: type[Params]) -> type[Params]:
    text: Any = str
    about = "The names and values of the query of the list of tasks; a value may be a list."
    fields: dict[str, Any] = {
        "operation": (text, Field(json_schema_extra={"enum": [name]})),
        "filter": (dict[str, Any], Field(min_length=1, description=about)),
        **_dry_run(True),
    }
    return create_model(f"Bulk{name.title()}", __base__=model, **fields)


_BULK_MODELS = {name: _bulk_model(name, operation.params_model) for name, operation in TASK_OPERATIONS.items()}


class BulkView(APIView):
    """Does one operation to all tasks that match a filter."""

    # The operation itself needs its own permission as well.
    needs = {"POST": retry.need}

    @extend_schema(
        operation_id="bulk",
        request=PolymorphicProxySerializer(
            component_name="Bulk", serializers=cast(Any, list(_BULK_MODELS.values())), resource_type_field_name=None
        ),
        responses=BulkResultSerializer,
        description=(
            "A dry run, which is the default, counts the tasks and returns a token. The same request with that token, "
            "`dry_run: false` and a reason does it, a hundred tasks at a time; it is refused with 409 when more than a "
            "tenth and more than two tasks more match the filter by then."
        ),
    )
    def post(self, request: Request) -> Response:
        given = _body(request)
        operation = TASK_OPERATIONS.get(str(given.get("operation")))
        if operation is None:
            raise ParamsInvalid([{"path": "operation", "message": f"must be one of {', '.join(TASK_OPERATIONS)}"}])
        check(request, operation.need)
        wanted: Any = _BULK_MODELS[operation.name].parse(given)
        _require(wanted, "token", "reason")
        tasks, actor = tasks_matching(wanted.filter), actor_of(request)
        with bounded():
            by_status = tasks.order_by().values_list("status").annotate(n=Count("pk"))
            statuses: dict[str, int] = dict(sorted(by_status))
        count = sum(statuses.values())
        agreed = {**_decisive(wanted), "caller": actor}
        body = {"dry_run": wanted.dry_run, "operation": operation.name, "count": count, "statuses": statuses}
        if wanted.dry_run:
            found = list(tasks.order_by("id").defer("params", "result", "error", "bindings")[:SAMPLE_TASKS])
            sample = [_with_refusal(task, operation.refusal(task)) for task in found]
            body |= {"token": token_of(agreed, count), "sample": sample}
        else:
            check_token(wanted.token, agreed, count)
            ids = bulk.ids_of(tasks, children_first=operation.children_first)
            body |= vars(bulk.act_on_many(operation, ids, wanted, actor, pace=Pace(limit_sec=OPERATION_SEC)))
        return Response(BulkResultSerializer(body).data)


def _with_refusal(task: Task, refusal: str) -> Task:
    task.refusal = refusal  # type: ignore[attr-defined]
    return task
