"""Images: a gallery, a page for each, and a viewer for its pixels."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.cache import cache
from django.db.models import F, QuerySet
from django.db.models.functions import Round
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.http import urlencode

from pipeline_app.admin import image_marks, product_files
from pipeline_app.admin.metrics_text import figures_of
from pipeline_app.admin.night_calendar import YEARS, start_of
from pipeline_app.admin.tiles import same_strip
from pipeline_app.models import ImageVote, Measurement, Observation, Product
from pipeline_app.operations import vote_on_image
from tasks_app.admin import pages

KIND = "image"
CARDS = 24
STRIPS_MOST = 100
STRIPS_SEC = 60
"""A strip that is observed for the first time can be chosen after this time at the latest."""
EPOCHS_MOST = 20
SOURCES_MOST = 500
VOTES_MOST = 50
OVERLAP_DEG = 1.5
"""Pointings this close in right ascension see the same sources."""
LAYERS = {
    "image": "image",
    "flat-image": "before primary-beam correction",
    "residual-image": "residual",
    "primary-beam": "response",
    "model-image": "clean components",
    "point-spread-function": "dirty beam",
}
VERDICTS = [("", "any verdict"), ("pass", "pass"), ("warn", "warn"), ("fail", "fail")]


def _strips() -> list[float]:
    rows = Observation.objects.annotate(strip=Round(F("declination_deg"), 1)).order_by("strip")
    return list(rows.values_list("strip", flat=True).distinct()[:STRIPS_MOST])


class ImageFilter(forms.Form):
    """What the gallery is narrowed by; its fields are the query of the address."""

    strip = forms.ChoiceField(required=False, label="Strip")
    night = forms.DateField(
        required=False,
        validators=YEARS,
        widget=forms.DateInput(attrs={"type": "date"}),
        label="Night, UTC date",
    )
    verdict = forms.ChoiceField(required=False, choices=VERDICTS)
    before = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        strips = cache.get_or_set("pipeline-strips", _strips, STRIPS_SEC) or []
        choices = [("", "any strip"), *((f"{strip:.1f}", f"{strip:+.1f}°") for strip in strips)]
        self.fields["strip"].choices = choices  # type: ignore[attr-defined]

    def narrow(self, rows: QuerySet[Product]) -> QuerySet[Product]:
        """Return the rows that the valid form asks for."""
        asked = self.cleaned_data
        if asked["strip"]:
            middle = float(asked["strip"])
            rows = rows.filter(observation__declination_deg__range=(middle - 0.05, middle + 0.05))
        if asked["night"]:
            start_mjd = start_of(asked["night"])
            rows = rows.filter(observation__start_mjd__gte=start_mjd, observation__start_mjd__lt=start_mjd + 1)
        if asked["verdict"]:
            rows = rows.filter(verdict=asked["verdict"])
        return rows.filter(pk__lt=asked["before"]) if asked["before"] else rows


@dataclass(frozen=True, kw_only=True)
class Card:
    """One image of the gallery."""

    image: Product
    thumbnail: Product | None
    beam: str
    noise_jy: float | None
    is_second: bool
    """Made after self-calibration."""
    votes: Counter[str]
    """How many people voted good and bad."""


def _images() -> QuerySet[Product]:
    return Product.objects.filter(kind=KIND).select_related("observation").defer("params", "versions", "inputs")


def _cards(images: list[Product]) -> list[Card]:
    tasks = [image.task_id for image in images]
    small = Product.objects.filter(task_id__in=tasks, kind="thumbnail").defer("params", "versions", "inputs", "metrics")
    thumbnails = {product.task_id: product for product in small}
    product_files.look(thumbnails.values())
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for key, vote in ImageVote.objects.filter(image__in=images).values_list("image_id", "vote"):
        votes[key][vote] += 1
    return [
        Card(
            image=image,
            thumbnail=thumbnails.get(image.task_id),
            beam=_beam(image.metrics),
            noise_jy=image.metrics.get("rms_jy"),
            is_second=image.task_name == "self-calibration",
            votes=votes[image.pk],
        )
        for image in images
    ]


def _beam(metrics: dict[str, Any]) -> str:
    try:
        return f"{metrics['beam_major_arcsec']:.0f}″ × {metrics['beam_minor_arcsec']:.0f}″"
    except (KeyError, TypeError, ValueError):
        return "–"


def gallery(request: HttpRequest) -> HttpResponseBase:
    """The gallery, the last made first."""
    form = ImageFilter(request.GET)
    valid = form.is_valid()
    found = list(form.narrow(_images()).order_by("-id")[: CARDS + 1]) if valid else []
    kept: dict[str, str] = {
        name: str(value) for name, value in request.GET.items() if name in form.fields and name != "before" and value
    }
    older = urlencode({**kept, "before": str(found[CARDS - 1].pk)}) if len(found) > CARDS else ""
    context = {
        "form": form,
        "cards": _cards(found[:CARDS]),
        "older": older,
        "newest": urlencode(kept) if request.GET.get("before") else None,
        "is_filtered": bool(kept),
    }
    response = pages.render(request, "admin/pipeline/images.html", title="Images", context=context)
    if not valid:
        response.status_code = 400
    return response


def _neighbours(image: Product) -> tuple[Product | None, Product | None]:
    """Return the last images of the strip's observations before and after this one's."""
    observation = image.observation
    if observation is None:
        return None, None
    strip = same_strip(_images().exclude(observation=observation), observation, "observation__")
    before = strip.filter(observation__start_mjd__lte=observation.start_mjd).order_by("-observation__start_mjd", "-id")
    after = strip.filter(observation__start_mjd__gt=observation.start_mjd).order_by("observation__start_mjd", "-id")
    return before.first(), after.first()


def _siblings(image: Product) -> list[Product]:
    rows = list(Product.objects.filter(task_id=image.task_id).defer("params", "versions", "inputs").order_by("id"))
    product_files.look(rows)
    image.found = next(row.found for row in rows if row.pk == image.pk)  # type: ignore[attr-defined]
    return rows


def _sources(image: Product) -> list[Measurement]:
    rows = Measurement.objects.filter(observation=image.observation_id, image_path=image.path)
    return list(rows.order_by("-flux_jy")[:SOURCES_MOST])


def image_page(request: HttpRequest, pk: int) -> HttpResponseBase:
    """One image: the picture, its figures, its sources, and its files."""
    image = get_object_or_404(_images(), pk=pk)
    made, sources = _siblings(image), _sources(image)
    preview = next((product for product in made if product.kind == "preview"), None)
    frame = image_marks.frame_of(preview)
    before, after = _neighbours(image)
    vote = reverse("admin:pipeline_app_product_vote", args=[image.pk])
    context = {
        "image": image,
        "observation": image.observation,
        "before": before,
        "after": after,
        "preview": preview,
        "frame": frame,
        "marks": image_marks.marks(frame, sources) if frame else [],
        "figures": figures_of(KIND, image.metrics),
        "files": [(LAYERS[product.kind], product) for product in made if product.kind in LAYERS],
        "sources": sources,
        "votes": list(image.votes.order_by("-voted_at")[:VOTES_MOST]),
        "vote_address": vote if request.user.has_perm(vote_on_image.permission) else "",
    }
    title = f"Image of {image.observation}" if image.observation else f"Image {image.pk}"
    back = pages.Link(label="Images", address=reverse("admin:page_images"))
    return pages.render(request, "admin/pipeline/image.html", title=title, back=back, context=context)


def viewer(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The viewer: pixels are read by the browser from the FITS files themselves."""
    image = get_object_or_404(_images(), pk=pk)
    here = image.observation
    others: list[Product] = []
    if here is not None:
        near = (here.ra_deg - OVERLAP_DEG, here.ra_deg + OVERLAP_DEG)
        strip = same_strip(_images().exclude(pk=image.pk), here, "observation__")
        others = list(strip.filter(observation__ra_deg__range=near).order_by("-id")[:EPOCHS_MOST])
        product_files.look(others)
    layers = [product for product in _siblings(image) if product.kind in LAYERS]
    data = {
        "layers": [
            {
                "kind": product.kind,
                "label": LAYERS[product.kind],
                "address": product_files.address(product) if product_files.found(product).is_file else "",
            }
            for product in layers
        ],
        "epochs": [
            {"label": f"{other.observation} ({other.verdict})", "address": product_files.address(other)}
            for other in others
            if product_files.found(other).is_file
        ],
        "noise_jy": image.metrics.get("rms_jy"),
        "sources": [
            {name: getattr(source, name) for name in ("name", "ra_deg", "dec_deg", "flux_jy", "catalog_flux_jy", "snr")}
            for source in _sources(image)
        ],
    }
    title = f"Viewer: {here or image.pk}"
    back = pages.Link(label="Image", address=reverse("admin:page_image", args=[image.pk]))
    return pages.render(
        request,
        "admin/pipeline/viewer.html",
        title=title,
        back=back,
        context={"image": image, "data": data, "lost": [each for each in layers if product_files.found(each).problem]},
    )


PERMISSION = "pipeline_app.view_product"
pages.add(pages.Page(route="images/", name="images", view=gallery, permission=PERMISSION, label="Images", order=34))
pages.add(pages.Page(route="images/<int:pk>/", name="image", view=image_page, permission=PERMISSION))
pages.add(pages.Page(route="images/<int:pk>/viewer/", name="viewer", view=viewer, permission=PERMISSION))
