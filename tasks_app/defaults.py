"""Every setting of the queue and its workers, described once: a Django site sets those that it wants otherwise.

This project's own settings read them from the environment under the same names; its reference is made from this.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks_app.monitoring.thresholds import DEFAULTS as HEALTH_LIMITS


@dataclass(frozen=True)
class Setting:
    """A setting: its default, the processes that read it, and what it does."""

    name: str
    default: Any
    process: str
    meaning: str


STATE = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "absurd"
ALL, WEB, WORKERS = "all", "web", "workers"
SWEEPERS = f"{WEB}, {WORKERS}"
SPAWNERS = "all that spawn tasks"

PLACES = "Where things are"
QUEUE = "The queue"
RUNTIME = "Workers"
RETENTION = "How long things are kept"
BACKUPS = "Backups"
SERVING = "Web and API"
NOTICES = "Notices"
OWN = "In a Django site of your own"

THROTTLES = {
    "key_per_min": (6000.0, "requests with one key"),
    "person_per_min": (6000.0, "requests with one login"),
    "address_per_min": (1200.0, "requests from one address without key or login"),
    "login_per_min": (30.0, "logins tried from one address, right or wrong"),
    "refused_per_min": (300.0, "requests from one address that get 401 or, on a socket, 4401, or that open a socket "
                        "from a page of another site, whatever they show"),
}  # fmt: skip
"""The default of each part of ABSURD_THROTTLE, and what it limits."""

GROUPS: dict[str, tuple[Setting, ...]] = {
    PLACES: (
        Setting("ABSURD_MODE", "production", ALL, "`local`: plain HTTP on 127.0.0.1, where programs of this machine "
                "may read without a key, and data roots are marked automatically. `production`: all need a key or a "
                "login"),
        Setting("ABSURD_VAR", STATE, ALL, "state directory of this host: logs of attempts, caches, private servers"),
        Setting("ABSURD_DATABASE_URL", "", ALL, "`postgresql://user:password@host:5432/absurd`, or through a socket "
                "`postgresql:///absurd?host=/var/run/postgresql`"),
        Setting("ABSURD_REDIS_URL", "", ALL, "`redis://host:6379/0`. Without Redis the live feed polls, and requests "
                "are limited by each process alone"),
        Setting("ABSURD_CHANNEL_PREFIX", "absurd", ALL, "prefix of all names in Redis, where systems share one"),
        Setting("ABSURD_DATA_ROOTS", (STATE / "data",), SWEEPERS, "directories that tasks may read, separated by "
                "colons; products go to the first that can be written. Each is proven by a marker file"),
    ),
    QUEUE: (
        Setting("ABSURD_ENABLED", True, ALL, "initial state of the system, stored in the database by the first process "
                "that has it true; from then on only `absurd_enable` and `absurd_disable` change it. Disabled: health "
                "`disabled`, spawning is refused (503), nothing is claimed"),
        Setting("ABSURD_QUEUE_NAME", "default", ALL, "queue of tasks that name none"),
        Setting("ABSURD_TASK_MODULES", (), ALL, "modules that register task names of your own, separated by commas, "
                "beside those that installed packages declare as entry points"),
        Setting("ABSURD_DJANGO_TASK_MODULES", (), ALL, "modules with functions decorated with Django's `@task`, "
                "separated by commas, beside the module `tasks` of every application"),
        Setting("ABSURD_DIAGNOSTICS", False, SWEEPERS, "whether the task names for trials (`echo`, `sleep`, `fail`, "
                "`segfault`, …) are known"),
        Setting("ABSURD_TASK_TIMEOUT", 3600, SPAWNERS, "for tasks without a timeout of their own"),
        Setting("ABSURD_MAX_RETRIES", 3, SPAWNERS, "for tasks without a number of their own"),
        Setting("ABSURD_BACKOFF_BASE_SEC", 5.0, SWEEPERS, "the first retry waits up to this long, each later one up to "
                "twice as long"),
        Setting("ABSURD_BACKOFF_CAP_SEC", 600.0, SWEEPERS, "and none longer than this"),
        Setting("ABSURD_POLL_ONLY", False, ALL, "for PgBouncer in transaction mode, in every process: no NOTIFY, "
                "LISTEN or prepared statements; workers find work by polling"),
    ),
    RUNTIME: (
        Setting("ABSURD_WORKER_CONCURRENCY", 4, WORKERS, "attempts at once in a worker"),
        Setting("ABSURD_WORKER_POLL_INTERVAL", 1.0, WORKERS, "time between looks for tasks when none is announced"),
        Setting("ABSURD_LEASE_SEC", 60, SWEEPERS, "how long a claim is valid without renewal"),
        Setting("ABSURD_HEARTBEAT_SEC", 10, SWEEPERS, "how often a worker reports; after three reports that did not "
                "come it counts as stale and the light turns amber, after ten as lost"),
        Setting("ABSURD_FILES_BIND", "", WORKERS, "address and port at which workers serve the logs and products of "
                "their host to the web host, such as `10.0.0.3:8001`; unset: they do not"),
        Setting("ABSURD_FILES_KEY", "", ALL, "secret with which hosts sign requests for each other's files, the same "
                "on all: 32 characters or more"),
        Setting("ABSURD_STOP_GRACE_SEC", 10.0, SWEEPERS, "time between SIGTERM and SIGKILL of an attempt"),
        Setting("ABSURD_DISK_FLOOR_GB", 1.0, SWEEPERS, "with less free where products go, a worker claims nothing and "
                "stops the attempt with the largest output; 0: never"),
        Setting("ABSURD_LOG_MAX_MB", 64, WORKERS, "of a longer log of an attempt the first and the last half are kept"),
        Setting("ABSURD_LOG_DAYS", 30, WORKERS, "logs of attempts are removed after this time; the last 200 lines of "
                "failed ones are in the database"),
    ),
    RETENTION: (
        Setting("ABSURD_RETENTION_DAYS", 30, SWEEPERS, "finished tasks go to the archive after this time, a run as a "
                "whole when its last task is that old. Workers that stopped or were lost that long ago are deleted "
                "when no task or attempt outside the archive refers to them; the last of each set of queues stays, "
                "and the archive keeps label and host with each attempt"),
        Setting("ABSURD_FAILED_RETENTION_DAYS", 90, SWEEPERS, "the same for failed tasks, and so for runs with one"),
        Setting("ABSURD_ARCHIVE_DAYS", 365, SWEEPERS, "archived tasks are deleted this long after they finished; 0: "
                "never. Products stay"),
        Setting("ABSURD_KEY_RETENTION_DAYS", 30, SWEEPERS, "how long a repeated idempotency key returns its task"),
    ),
    BACKUPS: (
        Setting("ABSURD_BACKUP_DIR", STATE / "backups", "backups", "where dumps are written"),
        Setting("ABSURD_BACKUP_KEEP", 14, "backups", "how many dumps of a database are kept"),
        Setting("ABSURD_BACKUP_DATABASE_URL", "", "backups", "the database as backups reach it: not through PgBouncer, "
                "with a role that may read everything and create databases"),
    ),
    SERVING: (
        Setting("ABSURD_API_KEY", "", f"{WEB}, clients", "one key with all scopes, in addition to those created in the "
                "console"),
        Setting("ABSURD_HEALTH", dict(HEALTH_LIMITS), ALL, "thresholds of the health checks, as in "
                "`depth_warn=800,disk_free_warn_fraction=0.1`"),
        Setting("ABSURD_THROTTLE", {name: most for name, (most, _) in THROTTLES.items()}, WEB, "requests a minute, as "
                "in `key_per_min=600`; 0: no limit"),
        Setting("ABSURD_PROXIES", (), WEB, "addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are "
                "believed, separated by commas; `unix` for a proxy on a Unix socket"),
        Setting("ABSURD_INTERNAL_FILES", "", WEB, "path below which nginx sends files of the data roots itself "
                "(X-Accel-Redirect), such as `/internal-files`"),
    ),
    NOTICES: (
        Setting("ABSURD_NOTIFY", (), WEB, "who gets a message when something needs attention, separated by commas: "
                "`mailto:ops@example.org`, `https://…` for a webhook, `slack+https://…`"),
        Setting("ABSURD_SMTP_URL", "smtp://localhost", WEB, "`smtp://`, `smtp+starttls://` or "
                "`smtps://user:password@host:port`"),
        Setting("ABSURD_NOTIFY_EVERY_SEC", 300.0, WEB, "at most one message in this time; what comes meanwhile is in "
                "the next one"),
        Setting("ABSURD_NOTIFY_QUIET", None, WEB, "`22:00-07:00`, UTC: meanwhile only bad faults are sent; warnings "
                "that still stand follow afterwards"),
    ),
    OWN: (
        Setting("ABSURD_DATA_ROOTS_GIVEN", False, SWEEPERS, "whether every root of the list must be there"),
        Setting("ABSURD_DOCS", Path("docs"), WEB, "directory of the documents that the console shows"),
        Setting("ABSURD_CONSOLE", False, WEB, "whether the console's pages are added to the admin site; they need the "
                "site and the templates of this project"),
        Setting("ABSURD_MANAGE_COMMAND", ("-m", "django"), WORKERS, "how fault drills start commands: arguments for "
                "the interpreter"),
        Setting("ABSURD_LOCAL_COMMAND", (), WORKERS, "how fault drills start servers of their own"),
    ),
}  # fmt: skip
"""By their subject. Those of the last group are not read from the environment."""
BY_NAME = {setting.name: setting for group in GROUPS.values() for setting in group}


def apply() -> None:
    """Give Django's settings the defaults that the site has not set."""
    from django.conf import settings

    for name, setting in BY_NAME.items():
        if not hasattr(settings, name):
            setattr(settings, name, setting.default)
