"""Verdicts that travel: every product carries the verdict of what it was made from.

A directory (Measurement Set) carries a JSON file, a FITS image carries cards in its header. A stage reads the records
of its inputs, and what it makes is never better than the worst of them. A Measurement Set without a record is
uncalibrated.
"""

from __future__ import annotations

import json
import math
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline_app.quality import Assessment, Verdict
from tasks_app.engine.handler import InvalidInput

RECORD_NAME = "verdict.json"
"""In the directory of a Measurement Set."""
CONVERSION_NAME = "conversion.json"
"""In the directory of a raw Measurement Set: what was found when it was converted. It is no record of a calibration."""
UNCALIBRATED = "the Measurement Set has no record of a calibration"
CALIBRATED_ELSEWHERE = "the calibration was made elsewhere and has no verdict"
NO_VERDICT = "the image has no verdict of the stage that made it"


class VerdictRecord(BaseModel):
    """The verdict of one product. Reasons of its own stage are kept apart from those of its inputs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Of the stage itself."""
    inherited: tuple[str, ...] = ()
    """Of the inputs, each with the name of its stage in front."""
    flux_scale_error: float = 0.0
    """Error that all fluxes of the product have in common, in proportion to them, as far as the stages measured it."""

    def as_inherited(self) -> tuple[str, ...]:
        """Return all reasons as the next stage states them."""
        return (*(f"{self.stage}: {reason}" for reason in self.reasons), *self.inherited)

    @property
    def all_reasons(self) -> list[str]:
        """Return all reasons as this stage states them."""
        return [*self.reasons, *self.inherited]


def inherit(
    stage: str, own: Assessment, inputs: Sequence[VerdictRecord], *, flux_scale_error: float = 0.0
) -> VerdictRecord:
    """Return the record of a product: the worst of its own assessment and of its inputs' verdicts.

    `flux_scale_error` is what the stage adds to the largest of its inputs: they have a common origin.
    """
    rank: list[Verdict] = ["pass", "warn", "fail"]
    verdict = max([own.verdict, *(record.verdict for record in inputs)], key=rank.index)
    inherited = dict.fromkeys(reason for record in inputs for reason in record.as_inherited())
    of_inputs = max((record.flux_scale_error for record in inputs), default=0.0)
    return VerdictRecord(
        stage=stage,
        verdict=verdict,
        reasons=own.reasons,
        inherited=tuple(inherited),
        flux_scale_error=math.hypot(of_inputs, flux_scale_error),
    )


def write_record(directory: Path, record: VerdictRecord, name: str = RECORD_NAME) -> None:
    """Put the record into a directory, such as that of a Measurement Set."""
    (directory / name).write_text(record.model_dump_json(indent=1), encoding="utf-8")


def read_record(directory: str | Path, name: str = RECORD_NAME) -> VerdictRecord | None:
    """Return the record of a directory, None when it has none that can be read."""
    try:
        return VerdictRecord.model_validate_json((Path(directory) / name).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def read_record_file(path: str | Path, stage: str) -> VerdictRecord:
    """Read the record that a stage has published as a file.

    Raises:
        InvalidInput: it cannot be read.
    """
    path = Path(path)
    record = read_record(path.parent, path.name)
    if record is None:
        raise InvalidInput(f"{path} is not the record of a {stage}")
    return record


def record_of_conversion(ms_path: str | Path) -> list[VerdictRecord]:
    """Return the record of the conversion of a raw Measurement Set, nothing where it was converted elsewhere."""
    record = read_record(ms_path, CONVERSION_NAME)
    return [record] if record else []


def record_of_calibrated(ms_path: str | Path, *, calibrated_elsewhere: bool = False) -> VerdictRecord:
    """Return the record of a Measurement Set that is to be imaged; one without a record is uncalibrated and fails."""
    record = read_record(ms_path)
    if record is not None:
        return record
    if calibrated_elsewhere:
        return VerdictRecord(stage="calibration", verdict="warn", reasons=(CALIBRATED_ELSEWHERE,))
    return VerdictRecord(stage="calibration", verdict="fail", reasons=(UNCALIBRATED,))


def to_cards(record: VerdictRecord, header: MutableMapping[str, Any]) -> None:
    """Write the record into a FITS header: VERDICT for readers, VRECORD (JSON, a long string) for the next stage."""
    header["VERDICT"] = record.verdict
    header["VRECORD"] = json.dumps(record.model_dump())


def from_cards(header: MutableMapping[str, Any]) -> VerdictRecord:
    """Return the record in a FITS header; an image without one is doubtful."""
    try:
        return VerdictRecord.model_validate_json(header.get("VRECORD", ""))
    except ValidationError:
        return VerdictRecord(stage="imaging", verdict="warn", reasons=(NO_VERDICT,))
