"""Every setting of the queue and its workers, with its default: a Django site sets those that it wants otherwise.

This project's own settings read them from the environment under the same names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tasks_app.monitoring.thresholds import DEFAULTS as HEALTH_LIMITS

ABSURD_MODE = "production"
"""In `local`, programs of the same machine may read without a key, and data roots are marked by themselves."""
ABSURD_VAR = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "absurd"
"""State directory of this host: logs of attempts, caches, outputs of attempts."""

# The queue
ABSURD_ENABLED = True
"""Whether a new database starts enabled; afterwards `absurd_enable` and `absurd_disable` decide."""
ABSURD_QUEUE_NAME = "default"
ABSURD_TASK_MODULES: tuple[str, ...] = ()
"""Modules that register task names, besides those that installed packages declare as entry points."""
ABSURD_DJANGO_TASK_MODULES: tuple[str, ...] = ()
"""Modules with Django's tasks, besides `tasks` of each application."""
ABSURD_TASK_TIMEOUT = 3600
"""Seconds."""
ABSURD_MAX_RETRIES = 3
ABSURD_BACKOFF_BASE_SEC = 5.0
ABSURD_BACKOFF_CAP_SEC = 600.0
ABSURD_POLL_ONLY = False
"""For PgBouncer in transaction mode: no LISTEN, no prepared statements."""
ABSURD_DIAGNOSTICS = False
"""Whether the diagnostic task names (`echo`, `sleep`, …) are known."""

# Workers
ABSURD_WORKER_CONCURRENCY = 4
ABSURD_WORKER_POLL_INTERVAL = 1.0
ABSURD_LEASE_SEC = 60
ABSURD_HEARTBEAT_SEC = 10
ABSURD_STOP_GRACE_SEC = 10.0
ABSURD_DATA_ROOTS: tuple[Path, ...] = (ABSURD_VAR / "data",)
"""Directories that tasks may read and where products are published."""
ABSURD_DATA_ROOTS_GIVEN = False
"""Whether every root of the list must be there."""
ABSURD_DISK_FLOOR_GB = 1.0
ABSURD_LOG_MAX_MB = 64
ABSURD_LOG_DAYS = 30

# Retention
ABSURD_RETENTION_DAYS = 30
ABSURD_FAILED_RETENTION_DAYS = 90
ABSURD_ARCHIVE_DAYS = 365
ABSURD_KEY_RETENTION_DAYS = 30

# Backups
ABSURD_BACKUP_DIR = ABSURD_VAR / "backups"
ABSURD_BACKUP_KEEP = 14
"""How many dumps of a database are kept."""
ABSURD_BACKUP_DATABASE_URL = ""
"""How backups reach the database; empty: as this process does."""

# Servers, API, console
ABSURD_DATABASE_URL = ""
ABSURD_REDIS_URL = ""
"""Without Redis the live feed polls, and requests are limited by each process alone."""
ABSURD_CHANNEL_PREFIX = "absurd"
ABSURD_API_KEY = ""
ABSURD_DOCS = Path("docs")
"""Directory of the documents that the console shows."""
ABSURD_CONSOLE = False
"""Whether the console's pages are added to the admin site; they need the site and the templates of this project."""
ABSURD_HEALTH: dict[str, float] = dict(HEALTH_LIMITS)
ABSURD_INTERNAL_FILES = ""
"""The path below which nginx sends files of the data roots itself (X-Accel-Redirect); empty: it does not."""
ABSURD_NOTIFY: tuple[str, ...] = ()
"""Who gets a message when something needs attention: `mailto:`, a webhook's https:// or slack+https://."""
ABSURD_SMTP_URL = "smtp://localhost"
ABSURD_NOTIFY_EVERY_SEC = 300.0
"""At most one message in this time; what comes meanwhile is in the next one."""
ABSURD_NOTIFY_QUIET: tuple[int, int] | None = None
"""First and last minute of the day, UTC, between which only bad faults are sent."""
ABSURD_PROXIES: tuple[Any, ...] = ()
ABSURD_THROTTLE: dict[str, float] = {
    "key_per_min": 6000,
    "person_per_min": 6000,
    "address_per_min": 1200,
    "refused_per_min": 300,
    "login_per_min": 30,
}
"""Requests a minute; 0 lets all pass. `refused` are those that an address gets a 401 for."""

# Fault drills: arguments for the interpreter
ABSURD_MANAGE_COMMAND = ("-m", "django")
ABSURD_LOCAL_COMMAND: tuple[str, ...] = ()


def apply() -> None:
    """Give Django's settings the defaults that the site has not set."""
    from django.conf import settings

    for name, value in globals().items():
        if name.startswith("ABSURD_") and not hasattr(settings, name):
            setattr(settings, name, value)
