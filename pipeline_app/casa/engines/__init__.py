"""Programs that clean, behind one interface: `engine_of(params)` returns a function from `ImagingJob` to `Cleaned`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Literal

from pipeline_app.casa.deconvolution import Cleaned, ImagingJob
from pipeline_app.casa.engines import casa_tclean, ducc, wsclean
from tasks_app.engine.handler import InvalidInput

EngineName = Literal["ducc0", "wsclean", "tclean"]
ENGINES: dict[EngineName, Callable[[ImagingJob], Cleaned]] = {
    "ducc0": ducc.clean,
    "wsclean": wsclean.clean,
    "tclean": casa_tclean.clean,
}


def choose_engine(asked: Literal["auto"] | EngineName) -> EngineName:
    """Return the engine to use: what is asked for; `auto` is ducc0, the most accurate and the fastest of the three.

    Raises:
        InvalidInput: WSClean is asked for and not installed.
    """
    name: EngineName = "ducc0" if asked == "auto" else asked
    if name == "wsclean" and shutil.which("wsclean") is None:
        raise InvalidInput(
            "engine 'wsclean' is asked for, but no program wsclean is on PATH; install it or use 'ducc0'"
        )
    return name
