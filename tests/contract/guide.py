"""What the operations guide prints, retyped: names and values as they stand there, `...` for what it leaves out."""

from __future__ import annotations

import json
from typing import Any

HEALTH = """{
  "status": "healthy",
  "message": "Absurd is operational",
  "queue": "dsa110-pipeline"
}"""
STATS = """{
  "queue_name": "dsa110-pipeline",
  "pending": 12,
  "claimed": 4,
  "completed": 1247,
  "failed": 3,
  "cancelled": 0,
  "total": 1266
}"""
DETAIL = """{
  "task_id": "a1b2c3d4-...",
  "queue_name": "dsa110-pipeline",
  "task_name": "calibration-solve",
  "status": "completed",
  "retry_count": 1,
  "created_at": "2025-11-18T10:30:00",
  "claimed_at": "2025-11-18T10:30:02",
  "completed_at": "2025-11-18T10:32:15",
  "result": {"caltables": [...]}
}"""
CORRECTED = """{
  "queue_name": "dsa110-pipeline",
  "task_name": "calibration-solve",
  "params": {...},
  "priority": 10
}"""
WITH_TIMEOUT = """{
  "queue_name": "dsa110-pipeline",
  "task_name": "imaging",
  "params": {...},
  "timeout_sec": 7200
}"""
URGENT = """{
  "queue_name": "dsa110-pipeline",
  "task_name": "calibration-solve",
  "params": {"ms_path": "/stage/urgent.ms"},
  "priority": 15
}"""
PRIORITY = """{"priority": 15}"""
TASK_UPDATE = """{
  "type": "task_update",
  "queue_name": "dsa110-pipeline",
  "task_id": "a1b2c3d4-...",
  "update": {
    "status": "completed",
    "completed_at": "2025-11-18T14:30:00Z",
    "result": {...}
  }
}"""
QUEUE_STATS_UPDATE = """{
  "type": "queue_stats_update",
  "queue_name": "dsa110-pipeline"
}"""

_LEFT_OUT = "left out"


def differences(printed: str, example: Any) -> list[str]:
    """Return where the example does not say what is printed; it may say more."""
    text = printed.replace("{...}", f'{{"{_LEFT_OUT}": 0}}').replace("[...]", f'["{_LEFT_OUT}"]')
    return _differences(json.loads(text), example, "")


def _differences(printed: Any, said: Any, path: str) -> list[str]:
    if printed in ({_LEFT_OUT: 0}, [_LEFT_OUT]):
        return [] if isinstance(said, type(printed)) and said else [path]
    if isinstance(printed, dict) and isinstance(said, dict):
        return [each for name in printed for each in _differences(printed[name], said.get(name), f"{path}/{name}")]
    if isinstance(printed, str) and isinstance(said, str):
        whole = said.startswith(printed.removesuffix("...")) if printed.endswith("...") else said == printed
        # Moments carry their zone, which the guide leaves out.
        return [] if whole or said == f"{printed}Z" else [path]
    return [] if type(printed) is type(said) and printed == said else [path]
