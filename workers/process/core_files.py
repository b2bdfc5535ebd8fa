"""Where the core of a crashed child would be found."""

from __future__ import annotations

import resource
from pathlib import Path

PATTERN = Path("/proc/sys/kernel/core_pattern")


def hint(dumped: bool) -> str:
    """Return where the core is, or how to get one at the next crash."""
    try:
        pattern = PATTERN.read_text().strip()
    except OSError:
        pattern = ""
    if dumped and pattern.startswith("|"):
        return f"its core went to `{pattern[1:].split(' ', 1)[0]}`"
    if dumped and pattern.startswith("/"):
        return f"its core is at {pattern}"
    if dumped:
        return "its core went with its scratch directory: let kernel.core_pattern begin with a directory to keep it"
    if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0:
        return "no core was written: start the worker with `ulimit -c unlimited` (LimitCORE=infinity) to get one"
    return f"no core was written, though kernel.core_pattern is {pattern!r}"
