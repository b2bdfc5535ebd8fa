"""One stage in a process of its own, measured.

``python -m absurd_project.benchmark.pipeline_child HANDLER PARAMS DIR CORES``:

HANDLER is a stage's ``module:function``, PARAMS a file with its params as JSON, DIR an empty directory to work in,
CORES how many the stage may use. The last line of standard output is the measurement as JSON.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, get_type_hints

from tasks_app.engine.handler import DirectoryContext


class MeasuredContext(DirectoryContext):
    """Publishes where it writes, and keeps the longest time without a report of progress."""

    def __init__(self, directory: Path, cores: int) -> None:
        super().__init__(
            attempt_dir=directory,
            published_dir=(directory / "products").resolve(),
            task_id="benchmark",
            attempt=1,
            task_name="benchmark",
            data_roots=[],
            cores=cores,
        )
        for needed in (self.products_dir, self.scratch_dir):
            needed.mkdir(parents=True, exist_ok=True)
        self._last = time.monotonic()
        self.longest_silence_sec = 0.0

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        now = time.monotonic()
        self.longest_silence_sec = max(self.longest_silence_sec, now - self._last)
        self._last = now


def main(handler: str, params_path: str, directory: str, cores: str) -> dict[str, Any]:
    """Run the stage and return what it cost, with its result."""
    began = time.monotonic()
    module_name, function_name = handler.split(":")
    run = getattr(importlib.import_module(module_name), function_name)
    model = get_type_hints(run)["params"]
    import_sec = time.monotonic() - began
    params = model.model_validate_json(Path(params_path).read_text(encoding="utf-8"))
    context = MeasuredContext(Path(directory), int(cores))
    before, started = _cpu_sec(), time.monotonic()
    result = run(params, context)
    ended = time.monotonic()
    return {
        "wall_sec": ended - started,
        "cpu_sec": _cpu_sec() - before,
        "import_sec": import_sec,
        "peak_rss_bytes": max(_usage(who).ru_maxrss for who in _WHO) * 1024,
        "longest_silence_sec": max(context.longest_silence_sec, ended - context._last),
        "result": result.model_dump(mode="json"),
    }


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _usage(who: int) -> resource.struct_rusage:
    return resource.getrusage(who)


def _cpu_sec() -> float:
    return sum(_usage(who).ru_utime + _usage(who).ru_stime for who in _WHO)


if __name__ == "__main__":
    measured = main(*sys.argv[1:5])
    sys.stdout.write("\n" + json.dumps(measured) + "\n")
