"""The variables of the environment: each is described once, and noted with its type and default where it is read."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tasks_app.defaults import ALL, GROUPS, PLACES, SERVING, WEB, WORKERS, Setting

LOGS = "Logs"
OURS: dict[str, tuple[Setting, ...]] = {
    PLACES: (
        Setting("ABSURD_CASA_DATA", "", WORKERS, "where CASA's measures data are prepared"),
        Setting("ABSURD_INCOMING", "", "the unit `absurd-ingest`", "the directory that it watches"),
        Setting("ABSURD_PILOTS", "", "the unit `absurd-pilots`", "the directory of its pilots, which all nodes share"),
        Setting("ABSURD_PILOTS_OPTIONS", "", "the unit `absurd-pilots`", "further options of `absurd_pilots`"),
        Setting("ABSURD_POOL_MAX_SIZE", 10, ALL, "database connections of a process; a request that gets none within "
                "5 s is answered 503 with `Retry-After`"),
        Setting("ABSURD_IDLE_TRANSACTION_SEC", 15, ALL, "the database ends a session that idles this long inside a "
                "transaction, so that a frozen process holds no locks; 0: never"),
    ),
    SERVING: (
        Setting("ABSURD_PORT", 8000, WEB, "the port that the web listens on under `absurd_up`"),
        Setting("ABSURD_BIND", "127.0.0.1", WEB, "the address that it listens on; another one in production only"),
        Setting("ABSURD_HOSTS", "localhost,127.0.0.1,[::1]", WEB, "host names under which the web may be called, "
                "separated by commas; production needs at least one"),
        Setting("SECRET_KEY", "", WEB, "Django's secret key; production needs a random one of 50 characters or more"),
        Setting("ABSURD_ALLOWED_ORIGINS", "", WEB, "origins of front ends that are served elsewhere, as in "
                "`https://console.example.org,http://localhost:3000`"),
        Setting("ABSURD_LOGIN_FAILURES", 5, WEB, "failed logins of one name from one address that lock the pair out"),
        Setting("ABSURD_LOGIN_LOCKOUT_SEC", 900.0, WEB, "the time in which they are counted, and of the lockout"),
    ),
    LOGS: (
        Setting("ABSURD_LOG_LEVEL", "INFO", ALL, "`DEBUG`, `INFO`, `WARNING` or `ERROR`"),
        Setting("ABSURD_LOG_FORMAT", "line", ALL, "`json`: one JSON object a line"),
        Setting("ABSURD_ACCESS_LOG", "", WEB, "a log line for each answer: method, path, status, ms, address, caller, "
                "request id"),
    ),
}  # fmt: skip
DESCRIBED: Mapping[str, tuple[Setting, ...]] = {
    group: (*GROUPS.get(group, ()), *OURS.get(group, ())) for group in dict.fromkeys([*GROUPS, *OURS])
}
_BY_NAME = {setting.name: setting for setting in chain.from_iterable(DESCRIBED.values())}
OF_CHILDREN = frozenset(
    {
        *("ABSURD_ATTEMPT", "ABSURD_REQUEST_FD", "ABSURD_REPLY_FD", "ABSURD_STACK_FD", "ABSURD_WARM"),
        *("ABSURD_CASA_CACHE", "ABSURD_CASA_LOG", "ABSURD_CASA_MEASURES"),
    }
)
"""Set by workers in the processes of attempts."""


@dataclass(frozen=True)
class Variable:
    """A variable as it is read: what may be written, and its default in words."""

    setting: Setting
    kind: str
    default: str


READ: dict[str, Variable] = {}
"""By name; complete when the settings have been loaded."""


def note(name: str, kind: str, default: Any = None, shown: str | None = None) -> Any:
    """Record how a variable is read; return its default: the given one, else that of its description.

    Raises LookupError for a variable without a description.
    """
    if name not in _BY_NAME:
        raise LookupError(f"{name} is read but not described: add a Setting in {__name__} or tasks_app.defaults")
    setting = _BY_NAME[name]
    if default is None:
        default = setting.default
    if kind != "text" or name not in READ:
        READ[name] = Variable(setting, kind, _in_words(default) if shown is None else shown)
    return default


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if value or value == 0 else "none"


def unknown(from_files: frozenset[str]) -> dict[str, str]:
    """Return the ABSURD_ variables of the environment that nothing reads, each with the nearest one that is read."""
    known = {*READ, *(f"{name}_FILE" for name in from_files), *OF_CHILDREN}
    found = sorted(name for name in os.environ if name.startswith("ABSURD_") and name not in known)
    return {name: next(iter(difflib.get_close_matches(name, known - OF_CHILDREN, n=1)), "") for name in found}
