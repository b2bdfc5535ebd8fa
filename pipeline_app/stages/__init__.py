"""Params and results of each stage, with units; no CASA."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ParamsModel(BaseModel):
    """Params of a stage: what is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FiniteModel(BaseModel):
    """A result of a stage, or a part of one: numbers that are not finite, which JSON does not have, are refused too."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
