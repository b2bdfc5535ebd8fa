"""What operators may write behind an option, read strictly and refused by name."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tasks_app.postgresql import clock

UNITS_SEC = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"write {least} to {most}, not {text!r}")
        return int(text)

    return read


def seconds(least: float) -> Callable[[str], float]:
    """Return a reader of durations in seconds."""
    return number(least, of=" of seconds")


def number(least: float, *, of: str = "") -> Callable[[str], float]:
    """Return a reader of finite numbers; `of` says in what they count."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"write a number{of} not below {least:g}, not {text!r}")
        return value

    return read


def moment(text: str) -> datetime | timedelta:
    """Read a moment: ISO 8601, in UTC unless it says otherwise, or a distance from now, as in `90s`, `30m`, `2h`, `7d`.

    What a distance is counted from is known only with the database's clock, so it is left to whoever uses it.
    """
    if found := re.fullmatch(r"(\d{1,6})([smhd])", text, re.ASCII):
        return timedelta(seconds=int(found[1]) * UNITS_SEC[found[2]])
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"write a moment as 2025-11-18T10:30:00Z or 2h, not {text!r}") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def ago(read: datetime | timedelta) -> datetime:
    """Return the moment that was read, a distance being counted back from now."""
    return clock.now() - read if isinstance(read, timedelta) else read


def hence(read: datetime | timedelta) -> datetime:
    """Return the moment that was read, a distance being counted on from now."""
    return clock.now() + read if isinstance(read, timedelta) else read
