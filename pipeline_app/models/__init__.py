"""The pipeline's tables: observations, files, products, calibrations, measurements."""

from __future__ import annotations

from pipeline_app.models.calibration import Calibration
from pipeline_app.models.measurement import Measurement
from pipeline_app.models.observation import Observation, ObservationState, SubbandFile, SubbandState
from pipeline_app.models.product import Product

__all__ = [
    "Calibration",
    "Measurement",
    "Observation",
    "ObservationState",
    "Product",
    "SubbandFile",
    "SubbandState",
]
