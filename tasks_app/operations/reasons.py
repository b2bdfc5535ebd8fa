"""Operations that stop the work of others need a reason."""

from __future__ import annotations

from tasks_app.errors import ParamsInvalid


def check_reason(reason: str) -> None:
    """Raise ParamsInvalid when no reason is given."""
    if not reason.strip():
        raise ParamsInvalid([{"path": "reason", "message": "give a reason"}])
