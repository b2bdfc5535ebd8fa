"""Products shown and fetched through the console."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from uuid import UUID

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from pipeline_app import downloads
from pipeline_app.fits_stamp import NoStamp, StampRequest, load_libraries, stamp
from pipeline_app.models import Product
from tasks_app.admin import display
from tasks_app.admin.panels import Panel, Table
from tasks_app.errors import FilesBusy
from tasks_app.models import Attempt, Task

STAMP_MOST_ARCMIN = 60.0


def send(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send a product that is a file: pictures to be shown, everything else to be saved.

    The path comes from the product's row and never from the request.
    """
    if not request.user.has_perm("pipeline_app.view_product"):
        raise PermissionDenied
    product = get_object_or_404(Product, pk=pk)
    try:
        return downloads.send(product, request.headers, directories=False)
    except FilesBusy as error:
        return HttpResponse(f"{error}\n", status=503, content_type="text/plain", headers={"Retry-After": "30"})
    except OSError as error:
        raise Http404(f"{product.path} cannot be sent: {error.strerror or error}") from None


def send_stamp(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a small picture of an image around a position: ?ra= and dec= in degrees, arcmin=, low= and high= in Jy."""
    if not request.user.has_perm("pipeline_app.view_product"):
        raise PermissionDenied
    product = get_object_or_404(Product, pk=pk, kind="image")
    try:
        values = {name: float(request.GET[name]) for name in ("ra", "dec", "arcmin", "low", "high")}
    except (KeyError, ValueError):
        raise BadRequest("a stamp needs the numbers ra, dec, arcmin, low and high") from None
    if not (all(map(math.isfinite, values.values())) and 0 < values["arcmin"] <= STAMP_MOST_ARCMIN):
        raise BadRequest(f"arcmin must be above 0 and at most {STAMP_MOST_ARCMIN:g} (got {values['arcmin']:g})")
    asked = StampRequest(
        ra_deg=values["ra"],
        dec_deg=values["dec"],
        size_arcmin=values["arcmin"],
        low_jy=values["low"],
        high_jy=values["high"],
    )
    load_libraries()
    try:
        picture = downloads.read(product, partial(stamp, asked=asked))
    except FilesBusy as error:
        return HttpResponse(f"{error}\n", status=503, content_type="text/plain", headers={"Retry-After": "30"})
    except (NoStamp, OSError) as error:
        raise Http404(str(error)) from None
    return HttpResponse(picture, content_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


def address(product: Product) -> str:
    """Return the URL that `send` answers for the product."""
    return reverse("admin:pipeline_app_product_file", args=[product.pk])


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is of a product on this host."""

    is_file: bool
    problem: str
    """Why it cannot be shown; empty where it can."""
    origin: Callable[[], str]

    @property
    def host(self) -> str:
        """Where the attempt ran that wrote it; empty where that is not recorded any more."""
        return self.origin()

    @property
    def is_gone(self) -> bool:
        """Whether it is not there; otherwise its file system does not answer."""
        return self.problem == downloads.GONE


def look(products: Iterable[Product]) -> None:
    """Find out for all of them together what there is of them, before they are shown."""
    rows = list(products)
    states = downloads.states(rows)

    @cache
    def hosts() -> dict[tuple[UUID, int], str]:
        """Asked for once, and only where something is missing."""
        tasks = {row.task_id for row in rows if states[row.pk].problem}
        found = Attempt.objects.filter(task_id__in=tasks, worker__isnull=False)
        return {(task, number): host for task, number, host in found.values_list("task_id", "number", "worker__host")}

    for row in rows:
        key = (row.task_id, row.attempt)
        origin = partial(lambda key: hosts().get(key, ""), key)
        row.found = Found(is_file=states[row.pk].is_file, problem=states[row.pk].problem, origin=origin)  # type: ignore[attr-defined]


def found(product: Product) -> Found:
    """Return what there is of a product; where many are shown, `look` was called for all of them before."""
    if not hasattr(product, "found"):
        look([product])
    return product.found  # type: ignore[attr-defined,no-any-return]


def of_task(task: Task) -> Table:
    """Return what the task has published, for its page; an image has the picture of its thumbnail."""
    products = list(Product.objects.filter(task_id=task.task_id).order_by("id")) if task.claim_epoch else []
    look(products)
    small = next((product for product in products if product.kind == "thumbnail"), None)

    def picture_of(product: Product) -> SafeString | str:
        shown = small if product.kind == "image" else product
        if shown is None or shown.kind not in downloads.PICTURES or not found(shown).is_file:
            return ""
        place = reverse("admin:page_image", args=[product.pk]) if product.kind == "image" else address(shown)
        return format_html(
            '<a href="{}"><img class="thumb" loading="lazy" src="{}" alt="{}"></a>', place, address(shown), shown.kind
        )

    rows = [
        (
            picture_of(product),
            format_html(
                '<a href="{}">{}</a>', reverse("admin:pipeline_app_product_change", args=[product.pk]), product.kind
            ),
            mark_safe(render_to_string("admin/pipeline/file.html", {"product": product})),  # noqa: S308 - a template
            display.pill(product.verdict) if product.verdict else "–",
        )
        for product in products
    ]
    return Table(headings=("picture", "kind", "path", "verdict"), rows=rows)


PANEL = Panel(title="Products", table=of_task)
