"""CASA made safe to import, and its tasks made honest.

Importing any module of `pipeline_app.casa` first runs `configure`, so no stage can forget it. It sets, before
casatools is first imported: where the measures data are, that nothing reaches for the network, writes ``casa-*.log``
into the working directory or makes ``~/.casa``, and that the command line of the host program is none of CASA's
business (casaconfig would take ``--config file`` for its own and execute the file). And no port stays open: casatools
offers a registry of services (gRPC, without credentials, used by nothing of ours) on all interfaces from its import on,
without a switch for it, so its listening sockets are closed as soon as the library has made them.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from pipeline_app.casa import measures
from pipeline_app.casa_log import severe_lines

_MODULE = "casatools.logsink"
"""The log is the first tool that is made, and starts the services."""


def close_on_import() -> None:
    """Close the ports of casatools when it is imported, in this process. Further calls do nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def listening() -> list[int]:
    """Return the descriptors of this process on which it listens for TCP connections."""
    return [each.fd for each in psutil.Process().net_connections("tcp") if each.status == psutil.CONN_LISTEN]


def close(fds: Sequence[int]) -> None:
    """Put an unconnected socket in the place of each, so that the library may go on using its number."""
    with socket.socket(socket.AF_UNIX) as nothing:
        for fd in fds:
            os.dup2(nothing.fileno(), fd, inheritable=False)


class _Finder:
    """Finds the module as Python would, and changes the tool that starts the services."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _close_after_making(module.logsink)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _close_after_making(tool: Any) -> None:
    make = tool.__init__

    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        before = set(listening())
        make(self, *arguments, **named)
        close([fd for fd in listening() if fd not in before])

    tool.__init__ = __init__


_SITE_CONFIG = Path(__file__).parent / "site" / "casasiteconfig.py"


class CasaError(RuntimeError):
    """A CASA task failed, or logged SEVERE and returned as if it had not."""


@cache
def configure() -> None:
    """Set everything that must be set before casatools is imported; further calls do nothing.

    Raises:
        RuntimeError: casatools has been imported already, by code that did not import this package first.
    """
    if "casatools" in sys.modules or "casaconfig" in sys.modules:
        raise RuntimeError("CASA was imported before pipeline_app.casa could configure it")
    _forbid_downloads()
    close_on_import()
    warnings.filterwarnings("ignore", message='"is not" with', category=SyntaxWarning)  # casatasks 6.7, when compiled
    own = Path(tempfile.mkdtemp(prefix="absurd-casa-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ["ABSURD_CASA_MEASURES"] = str(measures.prepare(measures.default_cache()))
    os.environ["ABSURD_CASA_LOG"] = os.environ.get("CASA_LOGFILE") or str(own / "casa.log")
    os.environ["ABSURD_CASA_CACHE"] = str(own)
    os.environ["CASASITECONFIG"] = str(_SITE_CONFIG)
    _read_config_without_command_line()


def _forbid_downloads() -> None:
    from astropy.utils import iers

    iers.conf.auto_download = False
    iers.conf.auto_max_age = None


def _read_config_without_command_line() -> None:
    """Import casaconfig, which reads ``sys.argv`` and ``~/.casa/config.py`` at that moment and never again."""
    given = sys.argv
    sys.argv = [given[0] if given else "absurd", "--noconfig"]
    try:
        from casaconfig import config  # type: ignore[import-untyped]
    finally:
        sys.argv = given
    if failures := config.load_failure():
        raise RuntimeError(f"CASA's configuration failed: {failures}")


def log_path() -> Path:
    """Return the file to which CASA logs in this process."""
    from casatasks import casalog

    return Path(casalog.logfile())


def log_to(path: Path) -> None:
    """Make CASA log to `path` from now on."""
    from casatasks import casalog

    casalog.setlogfile(str(path))


def checked(task: Callable[..., Any], /, **arguments: Any) -> Any:
    """Call a CASA task and return what it returns.

    Raises:
        CasaError: the task raised, returned False, or logged SEVERE, which many tasks do in place of failing.
    """
    log = log_path()
    offset = log.stat().st_size if log.is_file() else 0
    name = getattr(task, "__name__", None) or type(task).__name__.lstrip("_")
    try:
        outcome = task(**arguments)
    except Exception as error:
        raise CasaError(f"{name}: {'; '.join(dict.fromkeys([*severe_lines(log, offset), str(error)]))}") from error
    if severe := severe_lines(log, offset):
        raise CasaError(f"{name}: {'; '.join(severe)}")
    if outcome is False:
        raise CasaError(f"{name} returned False")
    return outcome
