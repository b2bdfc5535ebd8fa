"""Stage `convert-uvh5-to-ms`: the subband files of one tile into one Measurement Set."""

from __future__ import annotations

from pydantic import Field

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel, ParamsModel


class ConvertParams(ParamsModel):
    """What to convert."""

    paths: list[str] = Field(min_length=1, description="UVH5 subband files of one tile, in any order, of any name")
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+-]*$",
        max_length=100,
        description="Name of the observation; by default its UTC start time",
    )


class ConvertResult(FiniteModel):
    """What was written."""

    ms_path: str
    name: str
    telescope_name: str
    n_antennas: int
    n_baselines: int = Field(description="Pairs with data, autocorrelations included")
    n_times: int
    n_channels: int
    freq_min_hz: float = Field(description="Centre of the lowest channel")
    freq_max_hz: float = Field(description="Centre of the highest channel")
    mid_time_mjd: float = Field(description="UTC")
    start_time_mjd: float = Field(description="UTC, start of the first integration")
    duration_sec: float
    phase_ra_deg: float = Field(description="ICRS")
    phase_dec_deg: float = Field(description="ICRS")
    declination_deg: float = Field(description="Apparent declination of the pointing at mid-time")
    n_subbands: int = Field(description="Subbands read")
    missing_subbands: list[int] = Field(description="Subbands absent from the input; their channels are flagged")
    flagged_fraction: float
    nonfinite_or_wild_flagged: int = Field(description="Visibilities flagged for being NaN, infinite or absurdly large")
    verdict: Verdict
    reasons: list[str] = Field(description="What was missing, flagged or repaired, with its amount")
