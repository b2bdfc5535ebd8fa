"""The stages as tasks: names, handlers, and what each may use."""

from __future__ import annotations

from pipeline_app.data_roots import check_paths
from pipeline_app.stages.calibrate_target import CalibrateTargetParams
from pipeline_app.stages.calibration_apply import CalibrationApplyParams
from pipeline_app.stages.calibration_solve import CalibrationSolveParams
from pipeline_app.stages.casa_trial import CasaTrialParams
from pipeline_app.stages.convert import ConvertParams
from pipeline_app.stages.imaging import ImagingParams
from pipeline_app.stages.photometry import PhotometryParams
from pipeline_app.stages.self_calibration import SelfCalibrationParams
from pipeline_app.stages.validation import ValidationParams
from tasks_app.engine.registry import TaskSpec, register

CONVERT = "convert-uvh5-to-ms"
SOLVE = "calibration-solve"
APPLY = "calibration-apply"
CALIBRATE = "calibrate-target"
IMAGING = "imaging"
SELF_CALIBRATION = "self-calibration"
VALIDATION = "validation"
PHOTOMETRY = "photometry"

RECORD = "pipeline_app.records:record"
WARM = "pipeline_app.casa.warm"
CHECK_LOG = "pipeline_app.casa_log:refuse_severe"

# Memory as measured on a tile of the real size (96 antennas, 768 channels, 24 times), rounded up. Two cores each,
# so that two tiles of that size never run side by side on a host with two cores.
STAGES = (
    TaskSpec(
        name=CONVERT,
        handler="pipeline_app.casa.convert:run",
        params_model=ConvertParams,
        description="Raw UVH5 subband files of one tile into one Measurement Set",
        timeout_sec=900,
        memory_gb=5.0,
        cores=2,
        check_params=check_paths,
        on_complete=RECORD,
        check_log=CHECK_LOG,
        warm=WARM,
    ),
    TaskSpec(
        name=SOLVE,
        handler="pipeline_app.casa.calibration_solve:run",
        params_model=CalibrationSolveParams,
        description="Delays, bandpass and gains from the calibrator in the beam, with a verdict",
        timeout_sec=900,
        memory_gb=3.0,
        cores=2,
        check_params=check_paths,
        on_complete=RECORD,
        check_log=CHECK_LOG,
        warm=WARM,
    ),
    TaskSpec(
        name=APPLY,
        handler="pipeline_app.casa.calibration_apply:run",
        params_model=CalibrationApplyParams,
        description="A new, calibrated and averaged Measurement Set",
        timeout_sec=600,
        memory_gb=4.0,
        check_params=check_paths,
        on_complete=RECORD,
        check_log=CHECK_LOG,
        warm=WARM,
    ),
    TaskSpec(
        name=CALIBRATE,
        handler="pipeline_app.casa.calibrate_target:run",
        params_model=CalibrateTargetParams,
        description="Raw UVH5 subband files of one tile into a calibrated and averaged Measurement Set, in one pass",
        timeout_sec=600,
        memory_gb=2.0,
        cores=2,
        check_params=check_paths,
        on_complete=RECORD,
        check_log=CHECK_LOG,
        warm=WARM,
    ),
    TaskSpec(
        name=IMAGING,
        handler="pipeline_app.casa.imaging:run",
        params_model=ImagingParams,
        description="Cleaned, primary-beam-corrected image with a preview",
        timeout_sec=1800,
        cores=2,
        memory_gb=4.0,
        check_params=check_paths,
        on_complete=RECORD,
        check_log=CHECK_LOG,
        warm=WARM,
    ),
    TaskSpec(
        name=SELF_CALIBRATION,
        handler="pipeline_app.casa.self_calibration:run",
        params_model=SelfCalibrationParams,
        description="A target's phases against its own sources, and a second image where it is better",
        timeout_sec=1800,
        cores=2,
        memory_gb=2.0,
        check_params=check_paths,
        on_complete=RECORD,
        check_log=CHECK_LOG,
        warm=WARM,
    ),
    TaskSpec(
        name=VALIDATION,
        handler="pipeline_app.casa.validation:run",
        params_model=ValidationParams,
        description="Flux scale and astrometry against the sources that a catalogue says should be seen",
        timeout_sec=600,
        memory_gb=1.0,
        check_params=check_paths,
        on_complete=RECORD,
        check_log=CHECK_LOG,
        warm=WARM,
    ),
    TaskSpec(
        name=PHOTOMETRY,
        handler="pipeline_app.casa.photometry:run",
        params_model=PhotometryParams,
        description="Forced fluxes with errors at catalogue positions",
        timeout_sec=600,
        memory_gb=1.0,
        check_params=check_paths,
        on_complete=RECORD,
        check_log=CHECK_LOG,
        warm=WARM,
    ),
)


CASA_TRIAL = TaskSpec(
    name="casa-trial",
    handler="pipeline_app.casa.casa_trial:run",
    params_model=CasaTrialParams,
    description="Starts CASA and logs through it",
    memory_gb=0.5,
    check_log=CHECK_LOG,
    warm=WARM,
)


def register_stages(*, diagnostics: bool) -> None:
    """Make the stages known to the queue, and the trial of CASA among the diagnostic task names."""
    for spec in (*STAGES, CASA_TRIAL) if diagnostics else STAGES:
        register(spec)
