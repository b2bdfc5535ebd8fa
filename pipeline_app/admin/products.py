"""Products, calibrations and fluxes in the console."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from pipeline_app.admin import product_files
from pipeline_app.admin.reading import task_link
from pipeline_app.models import Calibration, Measurement, Product
from tasks_app.admin.reading import ReadOnlyAdmin


class FromTaskAdmin(ReadOnlyAdmin):
    """Rows that a task wrote."""

    @admin.display(description="task")
    def task(self, row: Product | Calibration | Measurement) -> SafeString:
        """The task that made it."""
        return task_link(row.task_id)


@admin.register(Product)
class ProductAdmin(FromTaskAdmin):
    """What was made, from what, by which software."""

    list_display = ["kind", "path", "observation", "verdict", "size_bytes", "created_at"]
    list_filter = ["kind", "verdict", "task_name"]
    list_select_related = ["observation"]
    search_fields = ["path", "task_id", "observation__name"]
    readonly_fields = ["task", "picture", "file"]

    def get_urls(self) -> list[URLPattern]:
        send = self.admin_site.admin_view(product_files.send)
        return [path("<int:pk>/file/", send, name="pipeline_app_product_file"), *super().get_urls()]

    @admin.display(description="picture")
    def picture(self, product: Product) -> SafeString | str:
        """The picture itself."""
        return product_files.picture(product)

    @admin.display(description="file")
    def file(self, product: Product) -> SafeString:
        """The path, to be fetched from."""
        return product_files.link(product)


@admin.register(Calibration)
class CalibrationAdmin(FromTaskAdmin):
    """Solutions and their verdicts."""

    list_display = ["observation", "calibrator", "verdict", "reasons", "snr_median", "refant", "created_at"]
    list_filter = ["verdict", "calibrator"]
    list_select_related = ["observation"]
    search_fields = ["path", "task_id", "observation__name", "calibrator"]
    readonly_fields = ["task"]


@admin.register(Measurement)
class MeasurementAdmin(FromTaskAdmin):
    """Fluxes."""

    list_display = ["name", "observation", "flux", "snr", "verdict", "catalog_flux_jy", "offset_arcsec", "created_at"]
    list_filter = ["verdict"]
    list_select_related = ["observation"]
    search_fields = ["name", "observation__name", "task_id"]
    readonly_fields = ["task"]

    @admin.display(ordering="flux_jy", description="flux, mJy")
    def flux(self, row: Measurement) -> str:
        """Flux and error."""
        return f"{row.flux_jy * 1e3:.2f} ± {row.flux_err_jy * 1e3:.2f}"
