"""The result of a scenario, the bounds it is checked against, and both as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

RECOVERY_BEYOND_LEASE_SEC = 2.0
"""Tasks of a dead worker are back in the queue within a lease and this, counted from the last renewal."""
STOP_BEYOND_GRACE_SEC = 2.0
"""A cancelled attempt has freed its slot within the grace and this."""
GONE_WITHIN_SEC = 2.0
"""No process of an attempt lives longer than this after its worker or its attempt has died."""
RETRY_WITHIN_SEC = 2.0
"""The end of a child is in the database within this time."""
THROUGHPUT_KEPT = 0.8
"""Part of the throughput before a fault that there is after it, medians of WINDOWS windows."""
WINDOWS = 5
WINDOW_SEC = 2.0
MEMORY_KEPT = 1.10
"""A worker's memory after many tasks is at most this many times that after a tenth of them."""
OUTAGE_SEC = 600.0
"""A database or Valkey may be away for this long and nothing is lost. `--full` waits for all of it."""
SLACK_SEC = 1.0
"""Added to every bound in seconds, because other programs run on the same cores."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition, whether it held, and what was found."""

    what: str
    passed: bool
    found: str = ""


@dataclass(kw_only=True)
class Report:
    """The result of one scenario. It has passed when every check has."""

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

    @classmethod
    def of(cls, document: dict[str, Any]) -> Report:
        """Return the report that `as_dict` wrote."""
        fields = {name: value for name, value in document.items() if name != "passed"}
        return cls(**fields | {"checks": [Check(**check) for check in document["checks"]]})

    @property
    def passed(self) -> bool:
        """Whether every check passed; a skipped scenario has none."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def expect(self, what: str, passed: bool, found: object = "") -> None:
        """Add a check."""
        self.checks.append(Check(what=what, passed=bool(passed), found=str(found)))

    def recovered(self, what: str, seconds: float, bound_sec: float) -> None:
        """Add a check of a recovery time; the report keeps the slowest."""
        self.expect(f"{what} within {bound_sec:g} s", seconds <= bound_sec + SLACK_SEC, f"{seconds:.2f} s")
        if self.recovery_sec is None or seconds > self.recovery_sec:
            self.recovery_sec, self.recovery_bound_sec = round(seconds, 3), bound_sec

    def throughput(self, before: float, after: float) -> None:
        """Add a check of the tasks per second before and after the fault."""
        self.throughput_before, self.throughput_after = round(before, 2), round(after, 2)
        what = f"at least {THROUGHPUT_KEPT:.0%} of the throughput is back"
        self.expect(what, after >= THROUGHPUT_KEPT * before, f"{after:g} of {before:g} tasks/s")

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON keeps it."""
        return {"passed": self.passed} | asdict(self)

    def explained(self) -> str:
        """Return in a few lines what failed."""
        lines = [f"{check.what}: {check.found or 'no'}" for check in self.failures]
        return "\n".join([f"{self.name}: {'passed' if self.passed else 'failed'}", *lines, *self.notes])


def print_line(report: Report, console: Console) -> None:
    """Print the result of one scenario, and what failed in it."""
    passed = Text("passed", "green") if report.passed else Text("FAILED", "red")
    word = Text("skipped", "yellow") if report.skipped else passed
    console.print(word, f"{report.name} ({report.wall_sec:.0f} s) {report.skipped}")
    for check in report.failures:
        console.print(f"    {check.what}: {check.found or 'no'}", highlight=False, markup=False)


def print_table(reports: Sequence[Report], console: Console) -> None:
    """Print the results of all scenarios."""
    columns = ["scenario", "result", "accepted", "completed", "failed", "cancelled", "twice", "refused products"]
    table = Table(*columns, "recovery", "bound", "tasks/s before", "after", box=box.SIMPLE, title="Fault drill")
    for report in reports:
        table.add_row(
            report.name,
            "skipped" if report.skipped else "passed" if report.passed else "FAILED",
            str(report.accepted),
            *(str(report.ended.get(status, 0)) for status in ("completed", "failed", "cancelled")),
            str(report.ended_twice),
            str(report.refused_products),
            *(_number(value, " s") for value in (report.recovery_sec, report.recovery_bound_sec)),
            *(_number(value) for value in (report.throughput_before, report.throughput_after)),
        )
    console.print(table)
    console.print(f"Every bound has {SLACK_SEC:g} s of slack, because other programs run here.", highlight=False)


def _number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.2f}{unit}"
