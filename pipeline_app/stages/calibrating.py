"""What all stages that apply a calibration take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_AGE_HOURS = 24.0
MAX_DECLINATION_DIFFERENCE_DEG = 1.0
"""How far a calibration may be from what it is applied to, unless another limit is given."""


class CalibratingParams(BaseModel):
    """Which calibration to apply, and within which limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration_path: Annotated[str, Field(min_length=1, description="Directory published by calibration-solve")]
    max_age_hours: Annotated[float, Field(gt=0, description="Refuse a calibration further than this in time")] = (
        MAX_AGE_HOURS
    )
    max_declination_difference_deg: Annotated[
        float, Field(gt=0, description="Refuse a calibration of another declination strip")
    ] = MAX_DECLINATION_DIFFERENCE_DEG
    max_smearing: Annotated[
        float,
        Field(
            ge=0,
            lt=0.5,
            description="Mean loss over the baselines, weighted as in the image, that the width of averaged channels"
            " may cause at the half-power radius of the primary beam",
        ),
    ] = 0.007
