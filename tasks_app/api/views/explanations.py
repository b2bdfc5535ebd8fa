"""Why is this task not running?"""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.explanation_shapes import ExplanationSerializer
from tasks_app.api.pagination import refuse_unknown
from tasks_app.api.views.request import task_id_of
from tasks_app.monitoring.explain.explanation import explain_id


class TaskExplainView(APIView):
    """Why a task is not running, how it is running, or how it ended."""

    @extend_schema(operation_id="explain_task", responses=ExplanationSerializer)
    def get(self, request: Request, task_id: str) -> Response:
        refuse_unknown(request.query_params, set())
        return Response(ExplanationSerializer(explain_id(task_id_of(task_id))).data)
