"""Start CASA, ask it for the array's position and log through it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import casatasks
import casatools

from pipeline_app.stages.casa_trial import CasaTrialParams, CasaTrialResult
from pipeline_app.telescope import TELESCOPE_NAME
from tasks_app.engine.handler import Context


def run(params: CasaTrialParams, context: Context) -> CasaTrialResult:
    """Do what a stage does with CASA, in a second."""
    context.progress(None, "asking CASA for the position of the array")
    measures = casatools.measures()
    position = measures.observatory(TELESCOPE_NAME)
    measures.done()
    casatasks.casalog.post("CASA is there", "INFO", "casa_trial")
    if params.severe:
        casatasks.casalog.post(params.severe, "SEVERE", "casa_trial")
    time.sleep(params.then_sleep_sec)
    return CasaTrialResult(
        version=casatasks.version_string(),
        position=(position["m0"]["value"], position["m1"]["value"]),
        pid=os.getpid(),
        omp_threads=os.environ.get("OMP_NUM_THREADS", ""),
        home=os.environ.get("HOME", ""),
        working_directory=str(Path.cwd()),
    )
