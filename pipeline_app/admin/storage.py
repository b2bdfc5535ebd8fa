"""Storage: what lies where, how fast it grows, how long the space lasts, and what a retention would free."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, Min, Q, Sum
from django.db.models.functions import Coalesce, TruncDate
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from pipeline_app.models import Product
from tasks_app.admin import pages
from tasks_app.admin.charts import Axis, Series, XYChart
from tasks_app.errors import FilesBusy
from tasks_app.files.bounded_calls import in_time
from tasks_app.postgresql import clock

CACHE_SEC = 300
"""Sums over all products are kept this long; the page gives their age."""
GROWTH_DAYS = 30
RECENT_DAYS = 7
"""Growth is the mean of this many days."""
REMADE = {
    "ms": "from the raw files",
    "calibrated-ms": "from the raw files and the calibration",
    "self-calibrated-ms": "from the calibrated data",
    "point-spread-function": "by imaging again",
    "model-image": "by imaging again",
    "residual-image": "by imaging again",
    "flat-image": "by imaging again",
}
"""Kinds that the pipeline can make again, and how; all others are results."""
DEFAULT_DAYS = 30
SHOWN_KINDS = 5
"""As many kinds have a colour of their own in the chart."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """All products of a kind."""

    name: str
    number: int
    n_bytes: int
    oldest: datetime | None
    remade: str


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A data root: the space of its file system, and what products take of it."""

    path: str
    problem: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    product_bytes: int = 0
    growth_bytes_per_day: float = 0.0

    @property
    def used_percent(self) -> int:
        """How full the file system is."""
        return round(100 * (1 - self.free_bytes / self.total_bytes)) if self.total_bytes else 0

    @property
    def days_left(self) -> float | None:
        """How long the free space lasts at the present growth; None without growth."""
        return self.free_bytes / self.growth_bytes_per_day if self.growth_bytes_per_day > 0 else None


@dataclass(frozen=True, kw_only=True)
class DaySum:
    """The products of a kind that were made on one day of UTC."""

    kind: str
    day: date
    number: int
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over all products, at one moment."""

    counted_at: datetime
    kinds: list[Kind]
    days: list[DaySum]
    daily: dict[date, dict[str, int]]
    """Bytes of the last days, by day and kind."""
    by_root: dict[str, tuple[int, int]]
    """Bytes of all, and of the last days, by data root."""


class RetentionForm(forms.Form):
    """A retention to be tried: what is older than this, of the kinds that can be made again."""

    older_than_days = forms.IntegerField(min_value=1, max_value=3650, label="Older than, in days")
    kinds = forms.MultipleChoiceField(
        choices=[(name, f"{name} (made again {how})") for name, how in REMADE.items()],
        widget=forms.CheckboxSelectMultiple,
    )


def sums() -> Sums:
    """Return the sums, from the last minutes where they have been made."""
    found = cache.get("pipeline-storage") or _sum()
    cache.add("pipeline-storage", found, CACHE_SEC)
    return found  # type: ignore[no-any-return]


def _sum() -> Sums:
    """Read all products once: by kind and day, with the bytes below each data root."""
    now = clock.now()
    below = {
        f"root_{number}": Sum("size_bytes", filter=Q(path__startswith=f"{root}/"))
        for number, root in enumerate(settings.ABSURD_DATA_ROOTS)
    }
    query: Any = Product.objects.order_by().values("kind", day=TruncDate("created_at"))
    rows: list[dict[str, Any]] = list(
        query.annotate(n=Count("pk"), size=Coalesce(Sum("size_bytes"), 0), oldest=Min("created_at"), **below)
    )
    recent, shown = (now.date() - timedelta(days=days) for days in (RECENT_DAYS, GROWTH_DAYS))
    daily: dict[date, dict[str, int]] = defaultdict(dict)
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row)
        if row["day"] > shown:
            daily[row["day"]][row["kind"]] = row["size"]
    found = [
        Kind(
            name=name,
            number=sum(row["n"] for row in of_kind),
            n_bytes=sum(row["size"] for row in of_kind),
            oldest=min(row["oldest"] for row in of_kind),
            remade=REMADE.get(name, ""),
        )
        for name, of_kind in kinds.items()
    ]
    by_root = {
        str(root): (
            sum(row[f"root_{number}"] or 0 for row in rows),
            sum(row[f"root_{number}"] or 0 for row in rows if row["day"] > recent),
        )
        for number, root in enumerate(settings.ABSURD_DATA_ROOTS)
    }
    return Sums(
        counted_at=now,
        days=[DaySum(kind=row["kind"], day=row["day"], number=row["n"], n_bytes=row["size"]) for row in rows],
        kinds=sorted(found, key=lambda kind: (-kind.n_bytes, kind.name)),
        daily=dict(daily),
        by_root=by_root,
    )


def tiers(found: Sums) -> list[Tier]:
    """Return the data roots that are there, with the space left; a file system that does not answer is named."""
    shown = []
    for root in settings.ABSURD_DATA_ROOTS:
        path = str(root)
        total, recent = found.by_root.get(path, (0, 0))
        try:
            space = in_time(root, _space, root)
        except FilesBusy as error:
            shown.append(Tier(path=path, problem=str(error), product_bytes=total))
            continue
        if space is None:
            if total:
                shown.append(Tier(path=path, problem="not on this host", product_bytes=total))
            continue
        shown.append(
            Tier(
                path=path,
                total_bytes=space[0],
                free_bytes=space[1],
                product_bytes=total,
                growth_bytes_per_day=recent / _days_of(found),
            )
        )
    return shown


def _space(root: Path) -> tuple[int, int] | None:
    try:
        usage = shutil.disk_usage(root)
    except OSError:
        return None
    return usage.total, usage.free


def _days_of(found: Sums) -> float:
    """Return over how many days the recent growth is a mean: fewer than a week where there is less."""
    first = min(found.daily, default=found.counted_at.date())
    return float(min(RECENT_DAYS, max(1, (found.counted_at.date() - first).days + 1)))


def growth_chart(found: Sums) -> XYChart:
    """Draw what was made each day, by kind."""
    largest = [kind.name for kind in found.kinds[:SHOWN_KINDS]]
    parts = {name: {day: by_kind.get(name, 0) for day, by_kind in found.daily.items()} for name in largest}
    if len(found.kinds) > SHOWN_KINDS:
        rest = {day: sum(by_kind.values()) for day, by_kind in found.daily.items()}
        parts["others"] = {day: rest[day] - sum(part[day] for part in parts.values()) for day in rest}
    series = [
        Series(
            name=name,
            mark="bar",
            stack="kind",
            points=[(day.isoformat(), round(part[day] / 1e9, 3)) for day in sorted(part)],
        )
        for name, part in parts.items()
    ]
    return XYChart(
        name="growth",
        title="Made each day",
        x=Axis(label="UTC day", kind="time", whole=True),
        y=Axis(label="size", unit="GB", low=0.0),
        series=series,
    )


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a retention would remove."""

    number: int
    n_bytes: int
    cutoff: datetime
    kinds: list[tuple[str, int, int]]


def dry_run(found: Sums, kinds: Sequence[str], older_than_days: int) -> DryRun:
    """Return what a retention of whole days of UTC would have removed when the sums were made."""
    first_kept = found.counted_at.date() - timedelta(days=older_than_days)
    removed = [each for each in found.days if each.kind in kinds and each.day < first_kept]
    by_kind = [
        (kind, sum(each.number for each in removed if each.kind == kind),
         sum(each.n_bytes for each in removed if each.kind == kind))
        for kind in sorted({each.kind for each in removed})
    ]  # fmt: skip
    return DryRun(
        number=sum(each.number for each in removed),
        n_bytes=sum(each.n_bytes for each in removed),
        cutoff=datetime.combine(first_kept, time(), UTC),
        kinds=by_kind,
    )


def storage_page(request: HttpRequest) -> HttpResponseBase:
    """Space by tier and kind, growth, and a retention tried without removing anything."""
    asked = not RetentionForm.base_fields.keys().isdisjoint(request.GET)
    form = RetentionForm(
        request.GET if asked else None, initial={"older_than_days": DEFAULT_DAYS, "kinds": list(REMADE)}
    )
    refused = asked and not form.is_valid()
    panels = pages.read_panels({"sums": sums})
    found: Sums | None = panels["sums"].value
    context = {
        "panels": panels,
        "form": form,
        "dry_run": dry_run(found, **form.cleaned_data) if found and asked and not refused else None,
        "tiers": tiers(found) if found else [],
        "growth": growth_chart(found) if found else None,
        "recent_days": RECENT_DAYS,
    }
    response = pages.render(request, "admin/pipeline/storage.html", title="Storage", context=context)
    if refused:
        response.status_code = 400
    return response


pages.add(
    pages.Page(
        route="storage/",
        name="storage",
        view=storage_page,
        permission="pipeline_app.view_product",
        label="Storage",
        order=60,
    )
)
