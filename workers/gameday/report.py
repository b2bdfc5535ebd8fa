"""What a scenario found. No Django."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from workers.gameday.targets import SLACK_SEC, THROUGHPUT_KEPT


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that had to be so, and what was found."""

    what: str
    passed: bool
    found: str = ""


@dataclass(kw_only=True)
class Report:
    """The account of one scenario. It has passed when every check has."""

    name: str
    title: str
    skipped: str = ""
    wall_sec: float = 0.0
    accepted: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    ended_twice: int = 0
    refused_products: int = 0
    recovery_sec: float | None = None
    recovery_bound_sec: float | None = None
    throughput_before: float | None = None
    throughput_after: float | None = None
    events: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all that had to be so was so; a skipped scenario has proved nothing, and has failed nothing."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def expect(self, what: str, passed: bool, found: object = "") -> None:
        """Note whether something is as it had to be."""
        self.checks.append(Check(what=what, passed=bool(passed), found=str(found)))

    def recovered(self, what: str, seconds: float, bound_sec: float) -> None:
        """Note how long something took to be well again; the report keeps the slowest."""
        self.expect(f"{what} within {bound_sec:g} s", seconds <= bound_sec + SLACK_SEC, f"{seconds:.2f} s")
        if self.recovery_sec is None or seconds > self.recovery_sec:
            self.recovery_sec, self.recovery_bound_sec = round(seconds, 3), bound_sec

    def throughput(self, before: float, after: float) -> None:
        """Note the tasks a second before and after the fault."""
        self.throughput_before, self.throughput_after = round(before, 2), round(after, 2)
        what = f"at least {THROUGHPUT_KEPT:.0%} of the throughput is back"
        self.expect(what, after >= THROUGHPUT_KEPT * before, f"{after:g} of {before:g} tasks/s")

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON keeps it."""
        return {"passed": self.passed} | asdict(self)

    def explained(self) -> str:
        """Say in a few lines what failed."""
        lines = [f"{check.what}: {check.found or 'no'}" for check in self.failures]
        return "\n".join([f"{self.name}: {'passed' if self.passed else 'failed'}", *lines, *self.notes])
