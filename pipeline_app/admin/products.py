"""Products and fluxes in the console."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from pipeline_app.admin import product_files
from pipeline_app.admin.filters import VerdictFilter, occurring
from pipeline_app.admin.metrics_text import figures_of
from pipeline_app.admin.sources import address_of
from pipeline_app.downloads import picture_of
from pipeline_app.models import Calibration, Measurement, Product, name_begins
from pipeline_app.sky_text import flux_density
from tasks_app.admin import display, pages
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.reading import ReadOnlyAdmin

OBSERVATIONS_MOST = 1000
"""Whose fluxes the search by an image's path looks through."""


@admin.register(Product)
class ProductAdmin(OperatingAdmin, ReadOnlyAdmin):
    """What was made, from what, by which software; images are voted on."""

    target_kind = "image"
    selected_by_lists = False
    list_display = ["kind", "place", "observation", "judged", "size", "made"]
    list_filter = [VerdictFilter, occurring("kind"), occurring("task_name")]
    unindexed_filters = frozenset({"task_name"})
    list_select_related = ["observation"]
    search_fields = ["path__startswith", "task_id", "observation__name__startswith"]
    search_help_text = "The beginning of a path or of an observation's name, or a task id."

    def find_target(self, request: HttpRequest, object_id: str) -> Product:
        """Return the image of an address. Raises Http404, also for a product that is none."""
        found = super().find_target(request, object_id)
        if found.kind != "image":
            raise Http404(f"product {object_id} is no image")
        return found  # type: ignore[no-any-return]

    def label_of(self, target: Product) -> str:
        return f"the image of {target.observation}" if target.observation else str(target)

    def address_of(self, target: Product) -> str:
        return reverse("admin:page_image", args=[target.pk])

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/file/", wrap(product_files.send), name="pipeline_app_product_file"),
            path("<int:pk>/stamp/", wrap(product_files.send_stamp), name="pipeline_app_product_stamp"),
            *super().get_urls(),
        ]

    @admin.display(description="path")
    def place(self, product: Product) -> SafeString:
        """Its name and where it is."""
        return display.place(product.path)

    @admin.display(description="verdict")
    def judged(self, product: Product) -> SafeString | str:
        """The verdict's pill."""
        return display.pill(product.verdict) if product.verdict else display.NOTHING

    @admin.display
    def size(self, product: Product) -> str:
        """Its size."""
        return display.size(product.size_bytes)

    @admin.display(description="made")
    def made(self, product: Product) -> SafeString | str:
        """When it was published."""
        return display.utc(product.created_at)

    def page_of(self, request: HttpRequest, product: Product) -> HttpResponse:
        """The page of a product."""
        known = dict(Product.objects.filter(path__in=product.inputs[:100]).values_list("path", "pk"))
        context = {
            "product": product,
            "figures": figures_of(product.kind, product.metrics),
            "picture": picture_of(product),
            "calibration": Calibration.objects.filter(path=product.path).first()
            if product.kind == "calibration"
            else None,
            "inputs": [(each, known.get(each)) for each in product.inputs],
        }
        title, back = f"{product.kind} of {product.observation or product.task_name}", pages.list_of(Product)
        return pages.render(request, "admin/pipeline/product.html", title=title, back=back, context=context)


@admin.register(Measurement)
class MeasurementAdmin(ReadOnlyAdmin):
    """Fluxes, the last measured first."""

    list_display = ["source", "observation", "flux", "ratio", "significance", "apart", "judged", "measured"]
    list_display_links = None
    list_filter = [VerdictFilter]
    list_select_related = ["observation"]
    search_fields = ["observation__name__startswith", "task_id"]
    search_help_text = "The beginning of a source's or an observation's name, of an image's path, or a task id."

    def lookups_of(self, term: str) -> list[Q]:
        # Of an image's path there is no index here, but of its observation's.
        images = Product.objects.filter(path__startswith=term).values_list("observation", flat=True)
        observations = list(images[:OBSERVATIONS_MOST]) if term.startswith("/") else []
        of_image = Q(observation__in=observations, image_path__startswith=term)
        return [name_begins(term), of_image, *super().lookups_of(term)]

    @admin.display(description="source")
    def source(self, row: Measurement) -> SafeString:
        """The name, with the source's page."""
        return format_html('<a href="{}">{}</a>', address_of(row.name), row.name)

    @admin.display(description="flux density")
    def flux(self, row: Measurement) -> str:
        """Flux and error."""
        return flux_density(row.flux_jy, row.flux_err_jy)

    @admin.display(description="over catalogue")
    def ratio(self, row: Measurement) -> str:
        """Measured over catalogue flux."""
        return f"{row.flux_jy / row.catalog_flux_jy:.2f}" if row.catalog_flux_jy else display.NOTHING

    @admin.display(description="signal to noise")
    def significance(self, row: Measurement) -> str:
        """Flux over the noise part of its error."""
        return f"{row.snr:.1f}"

    @admin.display(description="off position")
    def apart(self, row: Measurement) -> str:
        """Distance from the catalogue position."""
        return display.NOTHING if row.offset_arcsec is None else f"{row.offset_arcsec:.1f}″"

    @admin.display(description="verdict")
    def judged(self, row: Measurement) -> SafeString | str:
        """The verdict's pill."""
        return display.pill(row.verdict) if row.verdict else display.NOTHING

    @admin.display(description="measured")
    def measured(self, row: Measurement) -> SafeString | str:
        """When it was measured."""
        return display.utc(row.created_at)

    def page_of(self, request: HttpRequest, row: Measurement) -> HttpResponse:
        """A flux has no page of its own: that of its source shows it."""
        return HttpResponseRedirect(address_of(row.name))
