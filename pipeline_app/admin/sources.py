"""Sources: found by name or position, their light curves, and which of them vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import urlencode

from pipeline_app import source_names
from pipeline_app.admin import product_files
from pipeline_app.light_curves import (
    ETA_LIMIT,
    V_LIMIT,
    Epoch,
    Flux,
    Variability,
    epoch_factors,
    last_epochs,
    variability,
)
from pipeline_app.models import Measurement, Product
from pipeline_app.positions import Cone, read_cone
from pipeline_app.sky_text import moment_of
from pipeline_app.telescope import angular_separation_deg
from tasks_app.admin import csv_lines, pages
from tasks_app.admin.charts import Axis, Series, Threshold, XYChart

SOURCES_MOST = 100
RECENT_ROWS = 3000
"""Without a search the sources of this many last measurements are shown."""
EPOCHS_MOST = 500
STAMPS_MOST = 24
STAMP_ARCMIN = 8.0
LISTED_EPOCHS = 100
"""In a list of sources each is judged by as many of its last epochs."""
REFERENCES_MOST = 20
TABLE_MOST = 200
CSV_MOST = 1000
CSV_COLUMNS = (
    "name", "ra_deg", "dec_deg", "separation_arcmin", "mean_flux_jy", "catalog_flux_jy", "n_epochs", "n_failed", "eta",
    "v", "varies",
)  # fmt: skip
FLOOR = 1e-3
"""A logarithmic axis shows no zero: smaller values are drawn here."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source and how it varies; `separation_arcmin` is from the place that was searched for."""

    name: str
    ra_deg: float
    dec_deg: float
    varies: Variability | None
    """None where every measurement has the verdict fail."""
    catalog_flux_jy: float | None
    n_failed: int
    separation_arcmin: float | None = None

    @property
    def address(self) -> str:
        """Its page."""
        return address_of(self.name)


def address_of(name: str) -> str:
    """Return the address of a source's page."""
    return f"{reverse('admin:page_source')}?{urlencode({'name': name})}"


def names_of(text: str, most: int = SOURCES_MOST + 1) -> list[str]:
    """Return the names that a search finds, at most `most`; without one those measured last."""
    if not text:
        return source_names.names_of_last(RECENT_ROWS, most)
    cone = cone_of(text)
    return source_names.names_beginning(text, most) if cone is None else source_names.names_near(cone, most)


def cone_of(text: str) -> Cone | None:
    """Return the position in a search; None where it is none, or where a source is called exactly so."""
    cone = read_cone(text)
    return None if cone is None or Measurement.objects.filter(name=text).exists() else cone


def find(text: str, most: int = SOURCES_MOST + 1) -> list[Source]:
    """Return the sources that a name or a position finds, at most `most`."""
    cone = cone_of(text)
    found = [_source(name, rows, cone) for name, rows in last_epochs(names_of(text, most), LISTED_EPOCHS).items()]
    if cone is not None:
        return sorted(found, key=lambda source: source.separation_arcmin or 0.0)
    return sorted(found, key=lambda source: -((source.varies and source.varies.eta) or 0.0))


def _source(name: str, rows: Sequence[Epoch], cone: Cone | None) -> Source:
    usable = [Flux(value_jy=row.flux_jy, error_jy=row.flux_err_jy) for row in rows if row.verdict != "fail"]
    last = rows[-1]
    apart = None
    if cone is not None:
        apart = 60 * float(angular_separation_deg(last.ra_deg, last.dec_deg, cone.ra_deg, cone.dec_deg))
    return Source(
        name=name,
        ra_deg=last.ra_deg,
        dec_deg=last.dec_deg,
        varies=variability(usable) if usable else None,
        catalog_flux_jy=last.catalog_flux_jy,
        n_failed=len(rows) - len(usable),
        separation_arcmin=apart,
    )


def variability_plane(sources: list[Source]) -> XYChart:
    """Draw eta against V of the sources with two epochs or more, with the limits of a candidate."""
    groups: dict[bool, list[tuple[Source, Variability]]] = {True: [], False: []}
    for source in sources:
        if source.varies and source.varies.eta is not None and source.varies.v is not None:
            groups[source.varies.is_candidate].append((source, source.varies))
    return XYChart(
        name="plane",
        title="How much sources vary",
        x=Axis(label="V: standard deviation over mean", kind="log"),
        y=Axis(label="η: reduced χ² of a constant flux", kind="log"),
        series=[
            Series(
                name=name,
                mark="point",
                tone=tone,  # type: ignore[arg-type]
                points=[(max(v.v or 0.0, FLOOR), max(v.eta or 0.0, FLOOR)) for _, v in groups[is_candidate]],
                labels=[source.name for source, _ in groups[is_candidate]],
                links=[source.address for source, _ in groups[is_candidate]],
            )
            for name, tone, is_candidate in (("varies", "bad", True), ("steady", "busy", False))
        ],
        thresholds=[
            Threshold(axis="x", value=V_LIMIT, label=f"V {V_LIMIT:g}"),
            Threshold(axis="y", value=ETA_LIMIT, label=f"η {ETA_LIMIT:g}"),
        ],
        size="large",
    )


def sources_page(request: HttpRequest) -> HttpResponseBase:
    """The search, the variability plane, and the sources found."""
    text = request.GET.get("q", "").strip()
    panel = pages.read_panels({"sources": lambda: find(text)})["sources"]
    found = panel.value or []
    shown = found[:SOURCES_MOST]
    context = {
        "query": text,
        "panel": panel,
        "sources": shown,
        "is_cut": len(found) > SOURCES_MOST,
        "plane": variability_plane(shown),
        "listed_epochs": LISTED_EPOCHS,
        "csv_most": CSV_MOST,
    }
    return pages.render(request, "admin/pipeline/sources.html", title="Sources", context=context)


def csv_page(request: HttpRequest) -> HttpResponse:
    """The sources that the page finds, at most CSV_MOST, as CSV."""
    found = find(request.GET.get("q", "").strip(), CSV_MOST)
    text = "".join(csv_lines.lines([CSV_COLUMNS, *(_cells(source) for source in found)]))
    headers = {"Content-Disposition": 'attachment; filename="sources.csv"'}
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)


def _cells(source: Source) -> list[Any]:
    varies = source.varies
    apart = source.separation_arcmin
    return [
        source.name,
        round(source.ra_deg, 7),
        round(source.dec_deg, 7),
        None if apart is None else round(apart, 4),
        varies and varies.mean_jy,
        source.catalog_flux_jy,
        varies.n_epochs if varies else 0,
        source.n_failed,
        varies and varies.eta,
        varies and varies.v,
        "yes" if varies and varies.is_candidate else "no",
    ]


def source_page(request: HttpRequest) -> HttpResponseBase:
    """The light curve of one source, as measured and normalised, with a stamp of each epoch."""
    name = request.GET.get("name", "")
    epochs = last_epochs([name], EPOCHS_MOST).get(name, [])
    if not epochs:
        raise Http404(f"no source called {name[:200]!r} has been measured")
    whole = Measurement.objects.select_related("observation").in_bulk([epoch.pk for epoch in epochs])
    points = [whole[epoch.pk] for epoch in epochs]
    factors, is_normalised = _factors(name, points), "normalised" in request.GET
    latest = points[: -STAMPS_MOST - 1 : -1]
    rows = Product.objects.filter(path__in=[point.image_path for point in latest])
    images = {image.path: image for image in rows.only("path", "kind", "task_id", "attempt", "host")}
    product_files.look(images.values())
    high_jy = max(point.flux_jy for point in points)
    context = {
        "source": _source(name, epochs, None),
        "curve": light_curve(points, factors if is_normalised else None),
        "is_normalised": is_normalised,
        "rows": [(point, factors.get(point.observation_id or 0)) for point in points[: -TABLE_MOST - 1 : -1]],
        "stamps": [(point, images.get(point.image_path), _stamp(point, high_jy)) for point in latest],
        "most": {"curve": EPOCHS_MOST, "table": TABLE_MOST, "references": REFERENCES_MOST},
        "limits": {"eta": ETA_LIMIT, "v": V_LIMIT},
    }
    back = pages.Link(label="Sources", address=reverse("admin:page_sources"))
    return pages.render(request, "admin/pipeline/source.html", title=f"Source {name}", back=back, context=context)


def _stamp(point: Measurement, high_jy: float) -> str:
    asked: dict[str, str] = {
        "ra": f"{point.ra_deg:.6f}",
        "dec": f"{point.dec_deg:.6f}",
        "arcmin": f"{STAMP_ARCMIN:g}",
        "low": f"{-3 * point.local_rms_jy:.3g}",
        "high": f"{max(high_jy, 5 * point.local_rms_jy):.4g}",
    }
    return urlencode(asked)


def _factors(name: str, points: list[Measurement]) -> dict[int, float]:
    """Return the common error of the epochs, from the other sources that stand out most in the last observation."""
    observations = {point.observation_id for point in points if point.observation_id}
    last = Measurement.objects.filter(observation=points[-1].observation_id).exclude(verdict="fail").exclude(name=name)
    names = list(dict.fromkeys(last.order_by("-snr").values_list("name", flat=True)[: 2 * REFERENCES_MOST]))
    others = last_epochs(names[:REFERENCES_MOST], EPOCHS_MOST)
    return epoch_factors(
        [
            (row.observation_id, other, row.flux_jy)
            for other, rows in others.items()
            for row in rows
            if row.observation_id in observations and row.verdict != "fail"
        ],
        without=name,
    )


def light_curve(points: list[Measurement], factors: dict[int, float] | None) -> XYChart:
    """Draw fluxes with their errors by verdict; with factors, divided by that of their epoch where it has one."""
    timed = [point for point in points if point.mid_mjd is not None]
    scales = {
        point.pk: 1.0 if factors is None else factors.get(point.observation_id or 0, 0.0)  # no epoch, no factor
        for point in timed
    }
    series = []
    for verdict, tone in (("pass", "ok"), ("warn", "warn"), ("fail", "bad"), ("", "calm")):
        chosen = [point for point in timed if point.verdict == verdict and scales[point.pk] > 0]
        if chosen:
            series.append(
                Series(
                    name=verdict or "no verdict",
                    mark="point",
                    tone=tone,  # type: ignore[arg-type]
                    points=[(_iso(p), *(1e3 * jy / scales[p.pk] for jy in (p.flux_jy, p.flux_err_jy))) for p in chosen],
                    labels=[str(p.observation) for p in chosen],
                )
            )
    return XYChart(
        name="curve",
        title="Light curve, normalised by the other sources" if factors is not None else "Light curve, as measured",
        x=Axis(label="UTC", kind="time"),
        y=Axis(label="flux density", unit="mJy"),
        series=series,
    )


def _iso(point: Measurement) -> str:
    return moment_of(point.mid_mjd or 0.0).isoformat()


PERMISSION = "pipeline_app.view_measurement"
pages.add(
    pages.Page(route="sources/", name="sources", view=sources_page, permission=PERMISSION, label="Sources", order=38)
)
pages.add(pages.Page(route="sources.csv", name="sources_csv", view=csv_page, permission=PERMISSION))
pages.add(pages.Page(route="sources/one/", name="source", view=source_page, permission=PERMISSION))
