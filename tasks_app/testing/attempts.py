"""Handlers run in the test's own process, with their context and what came of them."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tasks_app import cleaning
from tasks_app.engine import call_handler, registry
from tasks_app.engine.call_handler import Raised
from tasks_app.engine.handler import DirectoryContext
from tasks_app.files import manifest
from tasks_app.models import Task

NOBODY = "00000000-0000-0000-0000-000000000000"


class LocalContext(DirectoryContext):
    """A context for calling a handler directly: its products are published where they are written."""

    def __init__(
        self,
        directory: Path,
        *,
        task_name: str = "test",
        data_roots: tuple[Path, ...] = (),
        task_id: str = NOBODY,
        attempt: int = 1,
        cores: int = 1,
        memory_gb: float = 1.0,
    ) -> None:
        super().__init__(
            attempt_dir=directory,
            published_dir=(directory / "products").resolve(),
            task_id=task_id,
            attempt=attempt,
            task_name=task_name,
            data_roots=data_roots or (directory,),
            cores=cores,
            memory_gb=memory_gb,
        )
        self.reported: list[tuple[float | None, str]] = []
        """What the handler said of its progress: fraction and message."""
        for needed in (self.products_dir, self.scratch_dir):
            needed.mkdir(parents=True, exist_ok=True)

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        self.reported.append((fraction, message))
        super().progress(fraction, message, **metrics)


_numbers = itertools.count(1)


def fresh_directory() -> Path:
    """Return a directory of its own that lasts as long as the process."""
    return _directory_of_the_process() / str(next(_numbers))


@cache
def _directory_of_the_process() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="absurd-testing-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@dataclass(frozen=True, kw_only=True)
class LocalAttempt:
    """One execution of a handler in the test's own process."""

    task_name: str
    outcome: str
    """`completed`, the failure class, or `refused` when the claim was lost meanwhile."""
    result: dict[str, Any] | None = None
    error: str = ""
    traceback: str = ""
    exception: BaseException | None = field(default=None, repr=False)
    products: tuple[dict[str, Any], ...] = ()
    """As `on_complete` gets them: kind, absolute path, metrics, verdict, inputs, size and checksum."""
    progress: tuple[tuple[float | None, str], ...] = ()
    task: Task | None = None
    """The task as it is afterwards; None where there is none."""


def run_handler(
    name: str,
    params: Mapping[str, Any],
    *,
    directory: Path | None = None,
    data_roots: tuple[Path, ...] = (),
    attempt: int = 1,
) -> LocalAttempt:
    """Run the handler of a registered task name as a worker would, without task and without database.

    Raises UnknownTaskName. A handler's own exceptions end up in the report.
    """
    spec = registry.get(name)
    context = LocalContext(
        directory or fresh_directory(),
        task_name=name,
        data_roots=data_roots,
        attempt=attempt,
        cores=spec.cores,
        memory_gb=spec.memory_gb,
    )
    return execute(spec.handler, params, context)


def execute(handler: str, params: Mapping[str, Any], context: LocalContext) -> LocalAttempt:
    """Call the handler and report; what stops the test itself, such as Ctrl-C, goes on to stop it."""
    products: list[dict[str, Any]] = []

    def finish(returned: object) -> dict[str, Any]:
        result = call_handler.plain_result(returned)
        products.extend(_published(context))
        return result

    came = call_handler.call(handler, params, context, finish)
    progress = tuple(context.reported)
    if not isinstance(came, Raised):
        return LocalAttempt(
            task_name=context.task_name,
            outcome="completed",
            result=came,
            products=tuple(products),
            progress=progress,
        )
    if not isinstance(came.exception, Exception | SystemExit):
        raise came.exception
    return LocalAttempt(
        task_name=context.task_name,
        outcome=came.failure_class,
        error=came.message,
        traceback=came.traceback,
        exception=came.exception,
        progress=progress,
    )


def _published(context: LocalContext) -> list[dict[str, Any]]:
    found = []
    for draft in context.products:
        size_bytes, checksum = manifest.measure(context.products_dir / draft.path)
        found.append(
            {
                "kind": draft.kind,
                "path": str(context.published_dir / draft.path),
                "metrics": cleaning.json_value(dict(draft.metrics), f"metrics of product {draft.kind}"),
                "verdict": draft.verdict,
                "inputs": list(draft.inputs),
                "size_bytes": size_bytes,
                "checksum": checksum,
            }
        )
    return found
