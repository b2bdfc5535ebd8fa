"""The environment of a child: an allow-list, so that no database URL, key or secret can be in it."""

from __future__ import annotations

import os
from pathlib import Path

from tasks_app.claiming import Claim
from workers import strays

CHECKOUT = Path(__file__).resolve().parent.parent
INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "LD_LIBRARY_PATH")
THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def of_child(*, claim: Claim, scratch: Path, log_path: Path, var: Path) -> dict[str, str]:
    """Return the whole environment of one attempt.

    HOME and TMPDIR lie in its scratch directory; what numba and matplotlib compile once is shared by all attempts.
    """
    cache = var / "cache"
    own = {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": str(scratch / ".cache"),
        "NUMBA_CACHE_DIR": str(cache / "numba"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "MPLBACKEND": "Agg",
        "ABSURD_CASA_DATA": os.environ.get("ABSURD_CASA_DATA") or str(var / "casa-data"),
        "CASA_LOGFILE": str(log_path),
        strays.MARK: str(claim.claim_token),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
    }
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | own | dict.fromkeys(THREAD_COUNTS, str(max(1, claim.cores)))


def make_caches(var: Path) -> None:
    """Make the directories that all children share."""
    for name in ("numba", "matplotlib"):
        (var / "cache" / name).mkdir(parents=True, exist_ok=True)
