"""What a look at one thing found, and what all of them together say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from django.conf import settings

State = Literal["ok", "warn", "bad"]
Status = Literal["healthy", "degraded", "unhealthy", "disabled"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at: its state, what was measured against what, and what is to be done."""

    name: str
    state: State
    message: str
    remedy: str = ""
    value: float | None = None
    threshold: float | None = None

    @property
    def reason(self) -> str:
        """Message and remedy in one line."""
        return f"{self.message}: {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, kw_only=True)
class Health:
    """The state of one queue and of what it needs, with the reasons for anything but healthy, the gravest first."""

    status: Status
    message: str
    queue: str
    reasons: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    checked_at: datetime
    """When the look ended."""

    @property
    def age_sec(self) -> float:
        """Seconds since the look ended."""
        return (datetime.now(UTC) - self.checked_at).total_seconds()

    @property
    def database_answers(self) -> bool:
        """Whether the database answered when it was looked at."""
        return not any(check.name == "database" and check.state == "bad" for check in self.checks)


def limit(name: str) -> float:
    """Return a threshold."""
    value: float = settings.ABSURD_HEALTH[name]
    return value


def above(name: str, value: float, message: str, remedy: str, *, warn: str, bad: str | None = None) -> Check:
    """Return a check of a value that should be no higher than the named thresholds."""
    if bad is not None and value > limit(bad):
        return Check(name=name, state="bad", message=message, remedy=remedy, value=value, threshold=limit(bad))
    if value > limit(warn):
        return Check(name=name, state="warn", message=message, remedy=remedy, value=value, threshold=limit(warn))
    return Check(name=name, state="ok", message=message, value=value, threshold=limit(warn))


def below(name: str, value: float, message: str, remedy: str, *, warn: str, bad: str) -> Check:
    """Return a check of a value that should be no lower than the named thresholds."""
    for state, threshold in (("bad", limit(bad)), ("warn", limit(warn))):
        if value < threshold:
            found: State = "bad" if state == "bad" else "warn"
            return Check(name=name, state=found, message=message, remedy=remedy, value=value, threshold=threshold)
    return Check(name=name, state="ok", message=message, value=value, threshold=limit(warn))


def verdict(queue: str, checks: Sequence[Check], *, disabled: str) -> Health:
    """Return what the checks say together; `disabled` says why the system is disabled, empty if it is not."""
    faults = [each for state in ("bad", "warn") for each in checks if each.state == state]
    reasons = tuple(each.reason for each in faults)
    status: Status = "healthy"
    if faults:
        status = "unhealthy" if faults[0].state == "bad" else "degraded"
    message = "; ".join(reasons) or "Absurd is operational"
    if disabled:
        status, message = "disabled", disabled
    moment = datetime.now(UTC)
    return Health(status=status, message=message, queue=queue, reasons=reasons, checks=tuple(checks), checked_at=moment)


def duration(sec: float) -> str:
    """Write a duration for people."""
    if sec < 120:
        return f"{sec:.0f} s"
    return f"{sec / 60:.0f} min" if sec < 7200 else f"{sec / 3600:.1f} h"
