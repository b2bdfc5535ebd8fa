"""How the console writes things: states, times, durations, params. One place, so that a word looks alike everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app import formats
from tasks_app.monitoring.explain.findings import Explanation

NOTHING = "–"
ICONS = {
    "pending": "○",
    "waiting": "⋯",
    "scheduled": "◷",
    "retrying": "↻",
    "claimed": "▶",
    "cancelling": "■",
    "completed": "✓",
    "failed": "✕",
    "quarantined": "⚠",
    "cancelled": "⊘",
    "running": "▶",
    "stalled": "⚠",
    "active": "▶",
    "idle": "○",
    "stale": "⚠",
    "lost": "✕",
    "stopped": "⊘",
    "healthy": "✓",
    "degraded": "⚠",
    "unhealthy": "✕",
    "disabled": "⊘",
    "paused": "❚❚",
    "frozen": "❄",
    "enabled": "✓",
    "open": "✓",
    "pass": "✓",
    "warn": "⚠",
    "fail": "✕",
    "unrunnable": "–",
    "revoked": "⊘",
    "expired": "⊘",
    "claimable": "○",
    "limited": "⋯",
    "replaced": "↻",
}
BANDS = ((15, "critical"), (10, "high"), (5, "normal"), (1, "low"))
DIGEST_CHARS = 60
DIRECTORY_CHARS = 36
DEGREE_PLACES = 6
"""4 milliarcseconds: less than any position is known to."""
ERROR_CHARS = 110


def pill(state: str) -> SafeString:
    """Write a state with its colour, icon and word."""
    return format_html(
        '<span class="pill pill-{}"><span aria-hidden="true">{}</span> {}</span>', state, ICONS.get(state, "•"), state
    )


def tone(explanation: Explanation) -> str:
    """Return the class of health whose colour suits an explanation."""
    if explanation.state in ("failed", "quarantined", "stalled"):
        return "unhealthy"
    troubled = any(finding.severity != "info" for finding in explanation.findings)
    return "degraded" if troubled or explanation.is_blocked or explanation.state == "cancelling" else "healthy"


def band(priority: int) -> SafeString:
    """Write a priority with the name of its band."""
    name = next((word for least, word in BANDS if priority >= least), "low")
    return format_html('<span class="band band-{}">{} <small>{}</small></span>', name, priority, name)


def utc(moment: datetime | None) -> SafeString | str:
    """Write a moment in UTC with a Z."""
    if moment is None:
        return NOTHING
    return format_html('<time datetime="{}">{}</time>', moment.astimezone(UTC).isoformat(), formats.moment(moment))


def ago(moment: datetime | None) -> SafeString | str:
    """Write how long ago a moment was, with the moment itself on hover."""
    if moment is None:
        return NOTHING
    passed = duration(max(0.0, (timezone.now() - moment).total_seconds()))
    iso = moment.astimezone(UTC).isoformat()
    return format_html('<time datetime="{}" data-age title="{}">{}</time>', iso, formats.moment(moment), passed)


def due(moment: datetime) -> str:
    """Write how far away a moment is; the page counts on from there."""
    return f"in {duration(max(0.0, (moment - timezone.now()).total_seconds()))}"


def until(moment: datetime) -> SafeString:
    """Write how far away a moment is; the page counts it down."""
    return format_html('<time data-due="{}">{}</time>', moment.astimezone(UTC).isoformat(), due(moment))


def duration(seconds: float | None) -> str:
    """Write a duration in the two units that matter."""
    return formats.duration(seconds) if isinstance(seconds, int | float) else NOTHING


def size(n_bytes: int | None) -> str:
    """Write a size in decimal units."""
    if not isinstance(n_bytes, int | float):  # a template gives "" for a part of what is missing
        return NOTHING
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def rounded(value: Any, name: str = "") -> Any:
    """Return a JSON value with its degrees, by the names of its fields, rounded to DEGREE_PLACES."""
    if isinstance(value, dict):
        return {key: rounded(each, str(key)) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each, name) for each in value]
    return round(value, DEGREE_PLACES) if isinstance(value, float) and name.endswith("_deg") else value


def place(path: str) -> SafeString:
    """Write the name at the end of a path, and its directory shortened in the middle; the whole path on hover."""
    directory, _, name = path.rpartition("/")
    if len(directory) > DIRECTORY_CHARS:
        directory = f"{directory[: DIRECTORY_CHARS // 3]}…{directory[-2 * DIRECTORY_CHARS // 3 :]}"
    return format_html('<code title="{}">{}</code><div class="quiet">{}</div>', path, name, directory)


def bounded(count: int, most: int) -> str:
    """Write a number that was counted no further than `most`."""
    return f"{count:,}" if count < most else f"{most:,}+"


def digest(params: Mapping[str, Any]) -> str:
    """Write params in one short line: of a path its last part, of a list its length."""
    text = ", ".join(f"{name}={_brief(value)}" for name, value in params.items()) or NOTHING
    return text if len(text) <= DIGEST_CHARS else text[: DIGEST_CHARS - 1] + "…"


def _brief(value: Any) -> str:
    if isinstance(value, str):
        return PurePath(value).name if value.startswith("/") else value
    if isinstance(value, list):
        return _brief(value[0]) if len(value) == 1 else f"[{len(value)}]"
    if isinstance(value, dict):
        return "{…}"
    return str(value)


def first_line(text: str | None, chars: int = ERROR_CHARS) -> str:
    """Return the first line of an error, shortened."""
    return formats.first_line(text, chars)
