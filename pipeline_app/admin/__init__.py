"""The pipeline in the console: observations, images, calibrations, sources, storage."""

from __future__ import annotations

from pipeline_app.admin import finders, images, nights, product_files, run_notes, sources, storage, tonight
from pipeline_app.admin.calibration_pages import CalibrationAdmin
from pipeline_app.admin.observations import ObservationAdmin, SubbandFileAdmin
from pipeline_app.admin.products import MeasurementAdmin, ProductAdmin
from tasks_app.admin import panels, run_page

panels.add(product_files.PANEL)
run_page.add_notes(run_notes.SOURCE)
tonight.register()

__all__ = [
    "CalibrationAdmin",
    "MeasurementAdmin",
    "ObservationAdmin",
    "ProductAdmin",
    "SubbandFileAdmin",
    "finders",
    "images",
    "nights",
    "sources",
    "storage",
]
