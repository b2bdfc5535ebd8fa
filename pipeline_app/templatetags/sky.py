"""Template filters for positions, fluxes and products."""

from __future__ import annotations

from functools import lru_cache

from django import template
from django.urls import reverse
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from pipeline_app import sky_text
from pipeline_app.admin import product_files
from pipeline_app.admin.tonight import Cell
from pipeline_app.models import Measurement, Observation, Product
from tasks_app.admin import display
from tasks_app.templatetags.console import task_page

register = template.Library()
register.filter("hms", sky_text.hms)
register.filter("dms", sky_text.dms)
register.filter("file_address", product_files.address)
register.filter("found", product_files.found)
register.filter("size", display.size)


@register.inclusion_tag("admin/pipeline/picture.html")
def picture(product: Product, link: str = "", alt: str = "", query: str = "") -> dict[str, object]:
    """Show a product as a picture that leads to `link`, or else to itself; where its file is gone, what helps.

    With a query it is a stamp of the image.
    """
    name = "admin:pipeline_app_product_stamp" if query else "admin:pipeline_app_product_file"
    source = reverse(name, args=[product.pk]) + (f"?{query}" if query else "")
    return {"product": product, "source": source, "link": link or source, "alt": alt or str(product)}


@register.filter
def degrees(value: float | None, digits: int = 4) -> str:
    """Write an angle in degrees."""
    return sky_text.NOTHING if value is None else f"{value:.{digits}f}°"


@register.filter
def jansky(value: float | str | None, unit: str = "") -> str:
    """Write a flux density with its unit; Django gives an empty text for what an object lacks."""
    return sky_text.flux_density(None if isinstance(value, str) else value, unit=unit)


@register.filter
def figure(value: float | str | None) -> str:
    """Write a number without a unit to three figures; Django gives an empty text for what an object lacks."""
    if value is None or isinstance(value, str):
        return sky_text.NOTHING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@register.filter
def mjd_utc(value: float | None) -> str:
    """Write a modified Julian date as a moment in UTC."""
    return sky_text.NOTHING if value is None else f"{sky_text.moment_of(value):%Y-%m-%d %H:%M:%S}Z"


@register.filter
def strip(value: float | None) -> str:
    """Write the declination of a strip."""
    return sky_text.NOTHING if value is None else f"{value:+.1f}°"


@register.filter
def flux(row: Measurement) -> str:
    """Write a measured flux with its error."""
    return sky_text.flux_density(row.flux_jy, row.flux_err_jy)


@register.filter
def ratio(row: Measurement) -> str:
    """Write a measured flux over its catalogue flux."""
    return f"{row.flux_jy / row.catalog_flux_jy:.2f}" if row.catalog_flux_jy else sky_text.NOTHING


@register.filter
def galactic(observation: Observation) -> str:
    """Write where an observation points in Galactic coordinates."""
    return sky_text.galactic(observation.ra_deg, observation.dec_deg)


NO_CELL = mark_safe('<span class="cell-none">·</span>')


@register.filter
def grid_cell(cell: Cell) -> SafeString:
    """Write a stage of an observation. A night has 2,000: with a template's nodes they take most of its page's time."""
    task = cell.task
    if task is None:
        return NO_CELL
    before, after = _around_address(task.stage, task.display_status, cell.state, cell.verdict)
    return before + conditional_escape(task_page(task.task_id)) + after


@lru_cache(maxsize=500)
def _around_address(stage: str, status: str, state: str, verdict: str) -> tuple[SafeString, SafeString]:
    words = f"{stage}: {status}" + (f", verdict {verdict}" if verdict else "")
    icon = display.ICONS.get(state, "•")
    return format_html('<a class="cell-{}" href="', state), format_html(
        '" title="{}"><span aria-hidden="true">{}</span><span class="visually-hidden">{}: {}</span></a>',
        words, icon, stage, state,
    )  # fmt: skip
