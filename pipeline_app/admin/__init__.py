"""The pipeline's tables in the console; releasing an incomplete tile."""

from __future__ import annotations

from pipeline_app.admin import product_files
from pipeline_app.admin.observations import ObservationAdmin, SubbandFileAdmin
from pipeline_app.admin.products import CalibrationAdmin, MeasurementAdmin, ProductAdmin
from tasks_app.admin import panels

panels.add(product_files.PANEL)

__all__ = ["CalibrationAdmin", "MeasurementAdmin", "ObservationAdmin", "ProductAdmin", "SubbandFileAdmin"]
