"""`self-calibration`: a target's phases against its own model, and how coherent its calibration is."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel, ParamsModel
from pipeline_app.stages.imaging import ImagingParams, ImagingResult

RECORD_NAME = "self-calibration.json"
"""Published file that holds the verdict of the stage, for the stages after it."""


class SelfCalibrationParams(ParamsModel):
    """What to self-calibrate, on which model, and when it is worth it."""

    ms_path: str = Field(min_length=1, description="Calibrated Measurement Set; never written to")
    image_path: str = Field(min_length=1, description="First image, kept where a second would be no better")
    flat_image_path: str = Field(min_length=1, description="Its uncorrected image")
    pb_path: str = Field(min_length=1, description="Its effective response")
    residual_path: str | None = Field(None, description="Its residual; kept with it")
    model_path: str | None = Field(None, description="Its clean components; kept with it")
    psf_path: str | None = Field(None, description="Its dirty beam; kept with it")
    imaging: dict[str, Any] = Field({}, description="Params of the imaging stage for the second image, without ms_path")
    min_snr: float = Field(10.0, gt=0, description="Peaks from this many times the image's noise are the model")
    min_fraction: float = Field(
        0.15, ge=0, lt=1, description="Peaks fainter than this part of the brightest are no part of the model"
    )
    target_phase_error_deg: float = Field(
        3.0, gt=0, description="Phases are solved as often as this error of one of them allows"
    )
    max_phase_error_deg: float = Field(
        8.0, gt=0, description="Phases with a larger error, even over the whole tile, are not applied"
    )
    min_improvement: float = Field(
        1.005,
        ge=1,
        description="Amplitude of data that were not solved on, after over before, from which phases are applied",
    )

    @model_validator(mode="after")
    def _checks_imaging(self) -> SelfCalibrationParams:
        if "ms_path" in self.imaging:
            raise ValueError("imaging.ms_path is chosen by the stage: leave it out")
        ImagingParams(ms_path=self.ms_path, **self.imaging)
        return self


class SelfCalibrationResult(FiniteModel):
    """The images to measure on: the second ones where phases were applied, else the first."""

    applied: bool
    ms_path: str
    image_path: str
    flat_image_path: str
    pb_path: str
    residual_path: str | None
    model_path: str | None
    psf_path: str | None
    record_path: str
    """Published verdict, for validation and photometry."""
    gains_path: str | None
    """Solved phases (npz); None where there is nothing to solve on."""
    second_image: ImagingResult | None
    """What the second imaging measured."""
    n_model_sources: int
    n_intervals: int
    """In which phases were solved; 0 where there is nothing to solve on."""
    phase_error_deg: float | None
    """Rms error of one solved phase."""
    phase_rms_deg: float | None
    """Rms by which the antennas' phases differ from the calibration."""
    coherence: float | None
    """Factor on a flux before self-calibration; 1 is a calibration that fits."""
    coherence_error: float | None
    coherence_after: float | None
    """The same after it; None when it was not applied."""
    improvement: float | None
    """Amplitude of data that were not solved on, after over before."""
    verdict: Verdict
    reasons: list[str]
