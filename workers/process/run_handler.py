"""Call a handler and return its end as a message of the protocol. No Django: the child uses it too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks_app import cleaning, tracing
from tasks_app.engine import call_handler
from tasks_app.engine.call_handler import Raised
from tasks_app.engine.handler import Context, DirectoryContext, ProductDraft
from tasks_app.files import manifest
from workers.process.protocol import Failure, ProductNote, Reply, Result


def run_handler(
    path: str,
    params: Mapping[str, Any],
    context: Context,
    finish: Callable[[object], Result],
    *,
    traceparent: str = "",
) -> Reply:
    """Run the handler at `package.module:function` and return how it ended; raises nothing.

    `finish` turns what the handler returned into the reply; what it raises is the handler's failure. Spans of the
    handler's own are below that of the attempt, `traceparent`.
    """
    about = {"code.function.name": path}
    with tracing.span(f"run {context.task_name}", parent=traceparent, attributes=about) as span:
        came = call_handler.call(path, params, context, finish)
        if isinstance(came, Raised):
            tracing.mark_failed(span, came.message)
    if not isinstance(came, Raised):
        return came
    unknown = _unknown_params(came.exception) if came.failure_class == "invalid" else ()
    if unknown:
        message = f"this worker's version does not know {', '.join(unknown)}, which a newer one accepted at the spawn"
        return Failure(failure_class="unavailable", message=message, traceback=came.traceback)
    return Failure(failure_class=came.failure_class, message=came.message, traceback=came.traceback)


def _unknown_params(error: BaseException) -> tuple[str, ...]:
    """Return the params that the handler's model does not have, when nothing else is wrong with them.

    The model of the process that spawned the task has accepted them, so it is newer than this one.
    """
    faults = error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else []
    if any(fault["type"] != "extra_forbidden" or len(fault["loc"]) != 1 for fault in faults):
        return ()
    return tuple(f"params.{fault['loc'][0]}" for fault in faults)


def failure_of(error: BaseException, *, lacked: str = "") -> Failure:
    """Return the reply for an exception that was raised beside the handler; `lacked` is what the host lacked."""
    if lacked:
        return Failure(failure_class="unavailable", message=lacked, traceback=cleaning.traceback_of(error))
    return Failure(failure_class="error", message=cleaning.words(error), traceback=cleaning.traceback_of(error))


def product_notes(context: DirectoryContext) -> tuple[ProductNote, ...]:
    """Return what was declared, measured, with everything forced onto the disk."""
    manifest.sync(context.products_dir)
    return tuple(_note(draft, context.products_dir) for draft in context.products)


def _note(draft: ProductDraft, directory: Path) -> ProductNote:
    kind = cleaning.text(draft.kind, cleaning.NAME_CHARS_MOST)
    if cleaning.text(draft.path) != draft.path:
        raise cleaning.Unstorable(
            f"the path of product {kind} is not a text that can be stored: {cleaning.text(draft.path)}"
        )
    size_bytes, checksum = manifest.measure(directory / draft.path)
    return ProductNote(
        kind=kind,
        path=draft.path,
        metrics=cleaning.json_value(dict(draft.metrics), f"metrics of product {kind}"),
        verdict=None if draft.verdict is None else cleaning.text(draft.verdict, cleaning.NAME_CHARS_MOST),
        inputs=tuple(cleaning.text(path) for path in draft.inputs),
        size_bytes=size_bytes,
        checksum=checksum,
    )
