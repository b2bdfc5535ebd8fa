"""All that the stages import, for a child that is started before there is an attempt for it."""

from __future__ import annotations

import os
from pathlib import Path

import pipeline_app.casa.calibrate_target
import pipeline_app.casa.calibration_apply
import pipeline_app.casa.calibration_solve
import pipeline_app.casa.convert
import pipeline_app.casa.imaging
import pipeline_app.casa.photometry
import pipeline_app.casa.self_calibration
import pipeline_app.casa.validation  # noqa: F401 - loaded for the attempt to come
from pipeline_app.casa import runtime, stream_kernels

stream_kernels.load()


def hand_over() -> None:
    """Make CASA log where the attempt's log is; called when there is an attempt, with its environment in place."""
    runtime.log_to(Path(os.environ["CASA_LOGFILE"]))
