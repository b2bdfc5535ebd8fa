"""A trial of CASA in the queue: whether it starts, what it logs, how long that takes."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pipeline_app.stages import ParamsModel


class CasaTrialParams(ParamsModel):
    """What to do besides."""

    severe: str = ""
    """A message to log as SEVERE before returning as if nothing had happened; empty: none."""
    then_sleep_sec: float = Field(default=0.0, ge=0)


class CasaTrialResult(BaseModel):
    """The state of CASA in the child."""

    version: str
    position: tuple[float, float]
    """Longitude and latitude of the array in rad, from CASA's measures."""
    pid: int
    omp_threads: str
    """What the environment allows OpenMP."""
    home: str
    working_directory: str
