"""Products shown and fetched through the console."""

from __future__ import annotations

import math

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from pipeline_app import downloads
from pipeline_app.fits_stamp import NoStamp, StampRequest, load_libraries, stamp
from pipeline_app.models import Product
from tasks_app.admin import display
from tasks_app.admin.panels import Panel, Table
from tasks_app.errors import FilesBusy
from tasks_app.files.bounded_calls import in_time
from tasks_app.models import Task

STAMP_MOST_ARCMIN = 60.0


def send(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send a product that is a file: pictures to be shown, everything else to be saved.

    The path comes from the product's row and never from the request.
    """
    if not request.user.has_perm("pipeline_app.view_product"):
        raise PermissionDenied
    product = get_object_or_404(Product, pk=pk)
    try:
        path = downloads.file_path(product)
    except FilesBusy as error:
        return HttpResponse(f"{error}\n", status=503, content_type="text/plain", headers={"Retry-After": "30"})
    if path is None:
        raise Http404(f"{product.path} is a directory, or is not on this host below ABSURD_DATA_ROOTS")
    return downloads.send(product, path, request.headers)


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
    try:
        path = downloads.file_path(product)
        if path is None:
            raise Http404(f"{product.path} is not on this host below ABSURD_DATA_ROOTS")
        load_libraries()
        picture = in_time(path, stamp, path, asked)
    except FilesBusy as error:
        return HttpResponse(f"{error}\n", status=503, content_type="text/plain", headers={"Retry-After": "30"})
    except (NoStamp, OSError) as error:
        raise Http404(str(error)) from None
    return HttpResponse(picture, content_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


def address(product: Product) -> str:
    """Return the URL that `send` answers for the product."""
    return reverse("admin:pipeline_app_product_file", args=[product.pk])


def link(product: Product) -> SafeString:
    """Return the product's path, as a link when it is a file on this host."""
    try:
        path = downloads.file_path(product)
    except FilesBusy:
        path = None
    if path is None:
        return format_html("<code>{}</code>", product.path)
    return format_html('<a href="{}"><code>{}</code></a>', address(product), product.path)


def picture(product: Product) -> SafeString | str:
    """Return the product as a picture, or a dash when it is none."""
    try:
        path = downloads.picture_path(product)
    except FilesBusy:
        return "file system does not answer"
    if path is None:
        return "–"
    return format_html('<a href="{0}"><img class="preview" src="{0}" alt="{1}"></a>', address(product), product)


def thumbnail(product: Product | None, page: str = "") -> SafeString | str:
    """Return a small picture that leads to a page, or else to itself; nothing where there is no picture."""
    try:
        path = downloads.picture_path(product) if product else None
    except FilesBusy:
        path = None
    if product is None or path is None:
        return ""
    place = address(product)
    return format_html(
        '<a href="{}"><img class="thumb" loading="lazy" src="{}" alt="{}"></a>', page or place, place, product.kind
    )


def of_task(task: Task) -> Table:
    """Return what the task has published, for its page; an image has the picture of its thumbnail."""
    products = list(Product.objects.filter(task_id=task.task_id).order_by("id")) if task.claim_epoch else []
    small = next((product for product in products if product.kind == "thumbnail"), None)

    def picture_of(product: Product) -> SafeString | str:
        if product.kind == "image":
            return thumbnail(small, reverse("admin:page_image", args=[product.pk]))
        return thumbnail(product)

    rows = [
        (
            picture_of(product),
            format_html(
                '<a href="{}">{}</a>', reverse("admin:pipeline_app_product_change", args=[product.pk]), product.kind
            ),
            link(product),
            display.pill(product.verdict) if product.verdict else "–",
        )
        for product in products
    ]
    return Table(headings=("picture", "kind", "path", "verdict"), rows=rows)


PANEL = Panel(title="Products", table=of_task)
