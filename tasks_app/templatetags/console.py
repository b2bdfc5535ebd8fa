"""The console's ways of writing, for templates."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from django import template
from django.urls import get_script_prefix, reverse

from tasks_app import formats
from tasks_app.admin import charts, display
from tasks_app.admin.reading import COUNT_MOST
from tasks_app.models.querysets import short_id

register = template.Library()
register.filter("pill", display.pill)
register.filter("tone", display.tone)
register.filter("band", display.band)
register.filter("utc", display.utc)
register.filter("ago", display.ago)
register.filter("due", display.due)
register.filter("until", display.until)
register.filter("duration", display.duration)
register.filter("size", display.size)
register.filter("digest", display.digest)
register.filter("first_line", display.first_line)
register.filter("short_id", short_id)
register.filter("printable", formats.escaped)


@register.filter
def icon(state: str) -> str:
    """Return the sign of a state."""
    return display.ICONS.get(state, "•")


@register.filter
def pretty(value: Any) -> str:
    """Write a JSON value for reading."""
    return json.dumps(display.rounded(value), indent=2, ensure_ascii=False)


@register.filter
def listed(count: int) -> str:
    """Write how many rows a list has, which counts no further than COUNT_MOST."""
    return display.bounded(count, COUNT_MOST)


@register.filter
def thousands(count: int) -> str:
    """Write a count with its thousands apart."""
    return f"{count:,}"


@register.filter
def brief(value: Any) -> str:
    """Write a JSON value on one line; nothing as a dash."""
    if value is None:
        return display.NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@register.filter
def task_page(task_id: object) -> str:
    """Return the address of a task's page."""
    return f"{get_script_prefix()[:-1]}{_task_page().format(task_id)}"


@cache
def _task_page() -> str:
    """Return the address with braces for the id: pages have hundreds of such addresses, each slow to reverse."""
    mark = "0" * 32
    return (
        reverse("admin:tasks_app_task_change", args=[mark]).removeprefix(get_script_prefix()[:-1]).replace(mark, "{}")
    )


@register.filter
def percent(fraction: float | None) -> int:
    """Return a fraction in percent."""
    return round(100 * (fraction or 0))


@register.inclusion_tag("admin/chart.html")
def chart(drawn: charts.Chart, empty: str = "Nothing to draw yet.") -> dict[str, Any]:
    """Show a chart, or the words where it has no points."""
    return {"chart": drawn, "data": charts.as_json(drawn), "empty": empty}
