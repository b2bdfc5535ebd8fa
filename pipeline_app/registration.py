"""The stages as tasks: names, handlers, what each may use, and which paths its params may name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from pydantic import BaseModel

from pipeline_app.models import SubbandFile
from pipeline_app.stages.calibrate_target import CalibrateTargetParams
from pipeline_app.stages.calibration_apply import CalibrationApplyParams
from pipeline_app.stages.calibration_solve import CalibrationSolveParams
from pipeline_app.stages.casa_trial import CasaTrialParams
from pipeline_app.stages.convert import ConvertParams
from pipeline_app.stages.imaging import ImagingParams
from pipeline_app.stages.photometry import PhotometryParams
from pipeline_app.stages.self_calibration import SelfCalibrationParams
from pipeline_app.stages.validation import ValidationParams
from tasks_app.engine.registry import Problem, TaskSpec, register

CONVERT = "convert-uvh5-to-ms"
SOLVE = "calibration-solve"
APPLY = "calibration-apply"
CALIBRATE = "calibrate-target"
IMAGING = "imaging"
SELF_CALIBRATION = "self-calibration"
VALIDATION = "validation"
PHOTOMETRY = "photometry"

_REQUIRES = ("casatools", "casatasks", "pyuvdata")
_WARM = "pipeline_app.casa.warm"
_CHECK_LOG = "pipeline_app.casa_log:refuse_severe"


def check_paths(params: BaseModel) -> list[Problem]:
    """Return a problem for each path in the params that no task may name; whether it exists shows at run time.

    A task may name data under ABSURD_DATA_ROOTS, and raw files that the ingest has registered: the ingest is run by
    people with a shell on this machine, and its files may lie anywhere.
    """
    roots = [root.resolve() for root in settings.ABSURD_DATA_ROOTS]
    outside = [(field, path) for field, path in _paths(params) if not _is_below(path, roots)]
    registered = set(SubbandFile.objects.filter(path__in=[path for _, path in outside]).values_list("path", flat=True))
    listed = ":".join(map(str, settings.ABSURD_DATA_ROOTS))
    return [
        Problem(path=f"params.{field}", message=f"{path} is not an absolute path under ABSURD_DATA_ROOTS ({listed})")
        for field, path in outside
        if path not in registered
    ]


def _paths(params: BaseModel) -> Iterator[tuple[str, str]]:
    """Yield (field, path) of every param that names a file: `paths` and whatever ends in `_path`."""
    for name in sorted(params.model_fields_set):
        value = getattr(params, name)
        if name == "paths":
            yield from ((f"{name}.{index}", path) for index, path in enumerate(value))
        elif name.endswith("_path") and value is not None:
            yield name, value


def _is_below(path: str, roots: list[Path]) -> bool:
    if not path.startswith("/") or "\0" in path:
        return False
    resolved = Path(path).resolve()
    return any(resolved.is_relative_to(root) for root in roots)


def _stage(
    name: str, params_model: type[BaseModel], timeout_sec: int, memory_gb: float, cores: int, description: str
) -> TaskSpec:
    """Return the spec of a stage, whose params and handler are in the modules of one name."""
    module = params_model.__module__.rpartition(".")[2]
    return TaskSpec(
        name=name,
        handler=f"pipeline_app.casa.{module}:run",
        params_model=params_model,
        requires=_REQUIRES,
        description=description,
        timeout_sec=timeout_sec,
        memory_gb=memory_gb,
        cores=cores,
        check_params=check_paths,
        on_complete="pipeline_app.records:record",
        check_log=_CHECK_LOG,
        warm=_WARM,
    )


# Memory as measured on a tile of the real size (96 antennas, 768 channels, 24 times), rounded up. Two cores for most,
# so that two tiles of that size never run side by side on a host with two cores.
STAGES = (
    _stage(CONVERT, ConvertParams, 900, 5.0, 2, "Raw UVH5 subband files of one tile into one Measurement Set"),
    _stage(
        SOLVE,
        CalibrationSolveParams,
        900,
        3.0,
        2,
        "Delays, bandpass and gains from the calibrator in the beam, with a verdict",
    ),
    _stage(APPLY, CalibrationApplyParams, 600, 4.0, 1, "A new, calibrated and averaged Measurement Set"),
    _stage(
        CALIBRATE,
        CalibrateTargetParams,
        600,
        2.0,
        2,
        "Raw UVH5 subband files of one tile into a calibrated and averaged Measurement Set, in one pass",
    ),
    _stage(IMAGING, ImagingParams, 1800, 4.0, 2, "Cleaned, primary-beam-corrected image with a preview"),
    _stage(
        SELF_CALIBRATION,
        SelfCalibrationParams,
        1800,
        2.0,
        2,
        "A target's phases against its own sources, and a second image where it is better",
    ),
    _stage(
        VALIDATION,
        ValidationParams,
        600,
        1.0,
        1,
        "Flux scale and astrometry against the sources that a catalogue says should be seen",
    ),
    _stage(PHOTOMETRY, PhotometryParams, 600, 1.0, 1, "Forced fluxes with errors at catalogue positions"),
)

_CASA_TRIAL = TaskSpec(
    name="casa-trial",
    handler="pipeline_app.casa.casa_trial:run",
    params_model=CasaTrialParams,
    requires=_REQUIRES,
    description="Starts CASA and logs through it",
    memory_gb=0.5,
    check_log=_CHECK_LOG,
    warm=_WARM,
)


def register_stages(*, diagnostics: bool) -> None:
    """Make the stages known to the queue, and the trial of CASA among the diagnostic task names."""
    for spec in (*STAGES, _CASA_TRIAL) if diagnostics else STAGES:
        register(spec)
