"""What can be spawned: task names and workflows, with the JSON Schema of the params of each."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.name_serializers import (
    TaskNameDetailSerializer,
    TaskNameListSerializer,
    TaskNameSerializer,
    WorkflowListSerializer,
    WorkflowSerializer,
)
from tasks_app.api.pagination import refuse_unknown
from tasks_app.engine import registry
from tasks_app.errors import UnknownTaskName
from tasks_app.workflows import registry as workflows


class TaskNameListView(APIView):
    """All registered task names."""

    @extend_schema(operation_id="list_task_names", responses=TaskNameListSerializer)
    def get(self, request: Request) -> Response:
        refuse_unknown(request.query_params, set())
        specs = [registry.get(name) for name in registry.names()]
        return Response({"task_names": TaskNameSerializer(specs, many=True).data})


class TaskNameView(APIView):
    """One task name with the JSON Schema of its params."""

    @extend_schema(operation_id="get_task_name", responses=TaskNameDetailSerializer)
    def get(self, request: Request, task_name: str) -> Response:
        try:
            return Response(TaskNameDetailSerializer(registry.get(task_name)).data)
        except UnknownTaskName as error:
            raise NotFound(str(error)) from None


class WorkflowListView(APIView):
    """All registered workflows with the JSON Schema of their params; other runs are spawned by giving their stages."""

    @extend_schema(operation_id="list_workflows", responses=WorkflowListSerializer)
    def get(self, request: Request) -> Response:
        refuse_unknown(request.query_params, set())
        return Response({"workflows": WorkflowSerializer(workflows.known(), many=True).data})
