"""What can be spawned: task names and workflows, with the JSON Schema of the params of each."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import NotFound
from rest_framework.generics import RetrieveAPIView

from tasks_app.api.lists import ListView, WholeList
from tasks_app.api.system_serializers import TaskNameDetailSerializer, TaskNameSerializer, WorkflowSerializer
from tasks_app.engine import registry
from tasks_app.errors import UnknownTaskName
from tasks_app.workflows import registry as workflows


@extend_schema_view(get=extend_schema(operation_id="list_task_names"))
class TaskNameListView(ListView):
    """All registered task names."""

    serializer_class = TaskNameSerializer
    pagination_class = WholeList
    list_name = "task_names"

    def get_queryset(self) -> Any:
        return [registry.get(name) for name in registry.names()]


@extend_schema_view(get=extend_schema(operation_id="get_task_name"))
class TaskNameView(RetrieveAPIView[Any]):
    """One task name with the JSON Schema of its params."""

    serializer_class = TaskNameDetailSerializer

    def get_object(self) -> Any:
        try:
            return registry.get(self.kwargs["task_name"])
        except UnknownTaskName as error:
            raise NotFound(str(error)) from None


@extend_schema_view(get=extend_schema(operation_id="list_workflows"))
class WorkflowListView(ListView):
    """All registered workflows with the JSON Schema of their params; other runs are spawned by giving their stages."""

    serializer_class = WorkflowSerializer
    pagination_class = WholeList
    list_name = "workflows"

    def get_queryset(self) -> Any:
        return workflows.known()
