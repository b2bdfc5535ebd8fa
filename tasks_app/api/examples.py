"""Examples of the API's description: what the operations guide prints, and beside it what else an answer has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiExample

from tasks_app.api.serializers import SpawnedSerializer, TaskDetailSerializer, TaskSummarySerializer

HEALTH = {
    "status": "healthy",
    "message": "Absurd is operational",
    "queue": "dsa110-pipeline",
    "database_available": True,
    "queue_depth": 12,
}
STATS = {
    "queue_name": "dsa110-pipeline",
    "pending": 12,
    "claimed": 4,
    "completed": 1247,
    "failed": 3,
    "cancelled": 0,
    "total": 1266,
}
URGENT = {
    "queue_name": "dsa110-pipeline",
    "task_name": "calibration-solve",
    "params": {"ms_path": "/stage/urgent.ms"},
    "priority": 15,
}
CORRECTED = {**URGENT, "priority": 10}
WITH_TIMEOUT = {
    "queue_name": "dsa110-pipeline",
    "task_name": "imaging",
    "params": {"ms_path": "/stage/urgent.ms"},
    "timeout_sec": 7200,
}
PRIORITY = {"priority": 15}

_NEW = {
    **dict.fromkeys(SpawnedSerializer.Meta.fields),
    "task_id": "a1b2c3d4-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
    **URGENT,
    "status": "pending",
    "display_status": "pending",
    "retry_count": 0,
    "max_retries": 3,
    "attempt": 0,
    "timeout_sec": 1800,
    "progress_message": "",
    "progress_metrics": {},
    "created_at": "2025-11-18T10:30:00Z",
    "runnable_at": "2025-11-18T10:30:00Z",
    "concurrency_key": "",
    "stage": "",
    "created_by": "key:ingest",
    "failure_class": "",
    "bindings": {},
    "depends_on": [],
    "archived": False,
    "queue_paused": False,
}
_DONE = {
    **_NEW,
    "status": "completed",
    "display_status": "completed",
    "retry_count": 1,
    "attempt": 2,
    "claimed_at": "2025-11-18T10:30:02Z",
    "completed_at": "2025-11-18T10:32:15Z",
    "duration_sec": 133.0,
    "worker_id": "worker-1",
    "result": {"caltables": ["/stage/urgent.K", "/stage/urgent.B0", "/stage/urgent.G0"]},
}
_CANCELLED = {
    **_NEW,
    "status": "cancelled",
    "display_status": "cancelled",
    "completed_at": "2025-11-18T10:30:02Z",
}


def _shown(shape: type[TaskSummarySerializer | TaskDetailSerializer], task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the shape shows of a task."""
    return {name: task[name] for name in shape.Meta.fields}


def _answer(name: str, value: Any, status: int = 200) -> list[OpenApiExample]:
    return [OpenApiExample(name, value=value, response_only=True, status_codes=[str(status)])]


def _body(name: str, value: Any) -> OpenApiExample:
    return OpenApiExample(name, value=value, request_only=True)


OF_HEALTH = _answer("Healthy", HEALTH)
OF_QUEUES = _answer("The queue of the pipeline", HEALTH["queue"])
OF_STATS = _answer("A busy queue", STATS)
OF_LIST = _answer("One task", _shown(TaskSummarySerializer, _DONE))
OF_DETAIL = _answer("A completed task", _shown(TaskDetailSerializer, _DONE))
OF_SPAWN = [
    _body("A failed task with corrected params", CORRECTED),
    _body("A task with a timeout of its own", WITH_TIMEOUT),
    _body("An urgent task", URGENT),
    *_answer("A new task", _shown(SpawnedSerializer, _NEW), 201),
]
OF_CANCEL = _answer("A cancelled task", _shown(TaskDetailSerializer, _CANCELLED))
OF_PRIORITY = [
    _body("Urgent", PRIORITY),
    *_answer("A task with its new priority", _shown(TaskDetailSerializer, _NEW)),
]
