"""The task name `backup-database`, for a schedule or a person: a backup made by a worker."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks_app.engine.handler import Context
from tasks_app.engine.registry import TaskSpec, register
from tasks_app.models import LastBackup

NAME = LastBackup.TASK_NAME


class BackupParams(BaseModel):
    """What to do with the dump."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    verify: bool = Field(default=True, description="Restore the dump into a scratch database and compare the counts.")
    keep: int | None = Field(
        default=None, ge=1, le=10_000, description="How many dumps are kept; null: ABSURD_BACKUP_KEEP."
    )


def run(params: BackupParams, context: Context) -> dict[str, Any]:
    """Back up the database into ABSURD_BACKUP_DIR of the worker's host."""
    from django.conf import settings

    from tasks_app.backup import backup
    from tasks_app.backup.server import Server

    made = backup.make(
        Server.configured(),
        settings.ABSURD_BACKUP_DIR,
        keep=params.keep or settings.ABSURD_BACKUP_KEEP,
        verify=params.verify,
        on_progress=lambda fraction, what: context.progress(fraction, what),
    )
    backup.note(made)
    noted = made.manifest
    return {
        "path": str(made.path),
        "size_bytes": noted.size_bytes,
        "rows": sum(noted.rows.values()),
        "verified": noted.verified,
        "removed": [path.name for path in made.removed],
    }


def register_name() -> None:
    """Make the task name known in this process."""
    register(
        TaskSpec(
            name=NAME,
            handler=f"{__name__}:run",
            params_model=BackupParams,
            description="Dumps the database, restores the dump into a scratch database to verify it, removes old dumps",
            timeout_sec=6 * 3600,
            memory_gb=0.0,
            cores=0,
            isolation="thread",
        )
    )
