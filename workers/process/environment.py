"""The environment of a child: an allow-list, so that no database URL, key or secret can be in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from tasks_app import tracing
from tasks_app.version import CHECKOUT as CHECKOUT
from tasks_app.version import IS_CHECKOUT

MARK = "ABSURD_ATTEMPT"
"""By its value the processes of an attempt are found when its guardian was killed."""
INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "LD_LIBRARY_PATH")
THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def of_child(*, mark: str, cores: int, scratch: Path, log_path: Path, var: Path) -> dict[str, str]:
    """Return the whole environment of a child; what numba and matplotlib compile once is shared by all attempts."""
    cache, casa_data = shared(var)
    own = {
        "NUMBA_CACHE_DIR": str(cache / "numba"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "MPLBACKEND": "Agg",
        "ABSURD_CASA_DATA": str(casa_data),
        MARK: mark,
        "PYTHONPATH": os.pathsep.join(_import_paths()),
        "PYTHONUNBUFFERED": "1",
    }
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    threads = dict.fromkeys(THREAD_COUNTS, str(max(1, cores)))
    return inherited | tracing.variables() | own | of_attempt(scratch=scratch, log_path=log_path) | threads


def _import_paths() -> list[str]:
    """Return where a child finds modules besides the installed ones: the checkout, and what the worker was given."""
    given = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    return [*([str(CHECKOUT)] if IS_CHECKOUT else []), *map(os.path.abspath, given)]


def of_attempt(*, scratch: Path, log_path: Path) -> dict[str, str]:
    """Return what a spare gets only with its attempt: HOME and TMPDIR lie in the scratch directory."""
    return {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": str(scratch / ".cache"),
        "CASA_LOGFILE": str(log_path),
    }


def shared(var: Path) -> tuple[Path, ...]:
    """Return the directories into which all children write: what is compiled once, and CASA's measures."""
    return (var / "cache", Path(os.environ.get("ABSURD_CASA_DATA") or var / "casa-data").absolute())


def make_shared(var: Path) -> None:
    """Make the directories that all children share; CASA's may belong to another account."""
    for name in ("numba", "matplotlib"):
        (var / "cache" / name).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        shared(var)[1].mkdir(parents=True, exist_ok=True)


def kill_marked(mark: str) -> int:
    """Kill every process of this user that carries the mark; return how many."""
    killed = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                process.kill()
                killed += 1
    return killed
