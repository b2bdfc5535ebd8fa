"""The result of one check, and the health that all of them together make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal, cast

from django.conf import settings

State = Literal["ok", "warn", "bad"]
Status = Literal["healthy", "degraded", "unhealthy", "disabled"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A row that a fault is about: a worker, run, task or queue, or what an application adds."""

    kind: str
    key: str
    """As the row's page is addressed."""
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check: its state, the value measured, the threshold, and what to do."""

    name: str = ""
    """Set from the table of checks."""
    state: State
    message: str
    remedy: str = ""
    value: float | None = None
    threshold: float | None = None
    place: str = ""
    """The directory that it is about, where there is one."""
    subjects: tuple[Subject, ...] = ()
    """The rows that have the fault, where it can be said; a few at most."""
    finding: str = ""
    """As what its faults can be acknowledged; empty where they cannot."""
    acknowledged: str = ""
    """Until when its faults are acknowledged, by whom and why."""
    since: datetime | None = None
    """When this process first saw the state that it has seen ever since."""

    @property
    def advice(self) -> str:
        """The remedy, and the command that acknowledges the fault."""
        if not self.finding:
            return self.remedy
        return f"{self.remedy}; manage.py absurd_acknowledge {self.finding} hides the faults reported until now"

    @property
    def reason(self) -> str:
        return f"{self.message}: {self.advice}" if self.remedy else self.message


@dataclass(frozen=True, kw_only=True)
class Health:
    """The state of one queue and of what it needs, with the reasons for anything but healthy, the most severe first."""

    status: Status
    message: str
    queue: str
    reasons: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    checked_at: datetime
    """When the checks ended."""

    @property
    def age_sec(self) -> float:
        return (datetime.now(UTC) - self.checked_at).total_seconds()

    @property
    def database_answers(self) -> bool:
        return not any(check.name == "database" and check.state == "bad" for check in self.checks)


def threshold(name: str) -> float:
    """Return a threshold of ABSURD_HEALTH."""
    value: float = settings.ABSURD_HEALTH[name]
    return value


def ok(message: str, value: float | None = None, threshold: float | None = None) -> Check:
    """Return the result of a check that found no fault."""
    return Check(state="ok", message=message, value=value, threshold=threshold)


def fault(state: State, message: str, remedy: str, value: float | None = None, threshold: float | None = None) -> Check:
    """Return the result of a check that found a fault, whose message is written as a sentence begins."""
    message = message[:1].upper() + message[1:]
    return Check(state=state, message=message, remedy=remedy, value=value, threshold=threshold)


warn = partial(fault, "warn")
"""For a fault that makes the queue degraded."""
bad = partial(fault, "bad")
"""For a fault that makes the queue unhealthy."""


def within(value: float, message: str, remedy: str, *, warn_at: str, bad_at: str = "", least: bool = False) -> Check:
    """Return the result for a value that should not exceed the named thresholds, or with `least` not fall below."""
    for state, name in (("bad", bad_at), ("warn", warn_at)):
        if name and (value < threshold(name) if least else value > threshold(name)):
            return fault(cast(State, state), message, remedy, value, threshold(name))
    return ok(message, value, threshold(warn_at))


def counted(n: int, no_fault: str, message: str, remedy: str, state: State = "warn") -> Check:
    """Return the result for a number of faults, of which there should be none."""
    return fault(state, message, remedy, n, 0) if n else ok(no_fault, 0, 0)


def listed(names: Sequence[object], shown: int = 5, separator: str = ", ") -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - shown
    return separator.join(map(str, names[:shown])) + (f" and {more} more" if more > 0 else "")


def health_of(queue: str, checks: Sequence[Check], *, disabled: str) -> Health:
    """Return the health that the checks make; `disabled` is why the system is disabled, empty if it is not."""
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
