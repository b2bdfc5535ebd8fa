"""The process in which a handler runs: ``python -m workers.child``, started by the guardian, used once.

It has no Django, no database and no secret. Standard output and error are the attempt's log already.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import inspect
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from tasks_app.handler import DirectoryContext, InvalidInput, NoWork, ProductDraft
from workers import manifest, protocol
from workers.protocol import Failure, ProductNote, Progress, Reply, Request, Result

Handler = Callable[[BaseModel, "ChildContext"], object]


class Channel:
    """The pipe to the worker."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: Progress | Result | Failure) -> None:
        """Write one whole line, whichever thread calls."""
        line = memoryview(protocol.encode(message))
        with self._lock:
            while line:
                line = line[os.write(self._fd, line) :]


class ChildContext(DirectoryContext):
    """The context given to the handler: progress goes to the worker and into the log."""

    def __init__(self, request: Request, channel: Channel) -> None:
        super().__init__(
            attempt_dir=Path(request.attempt_dir),
            published_dir=Path(request.published_dir),
            task_id=request.task_id,
            attempt=request.attempt,
            task_name=request.task_name,
            data_roots=[Path(root) for root in request.data_roots],
            cores=request.cores,
            memory_gb=request.memory_gb,
        )
        self._channel = channel

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        super().progress(fraction, message)
        known = fraction is not None and math.isfinite(fraction)
        self._channel.send(
            Progress(
                fraction=min(1.0, max(0.0, float(fraction))) if known and fraction is not None else None,
                message=message,
                metrics={name: float(value) for name, value in metrics.items() if math.isfinite(value)},
            )
        )


class Unstorable(Exception):
    """A result holds something that JSON has no word for."""


def main() -> NoReturn:
    """Run the one request and end without Python's and CASA's tear-down, in which finished work can still crash."""
    request_fd, reply_fd = int(os.environ.pop(protocol.REQUEST_FD)), int(os.environ.pop(protocol.REPLY_FD))
    os.set_inheritable(reply_fd, False)
    faulthandler.enable(all_threads=True)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    with os.fdopen(request_fd, "rb") as stream:
        request = Request.model_validate_json(stream.read())
    channel = Channel(reply_fd)
    channel.send(execute(request, ChildContext(request, channel)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def execute(request: Request, context: ChildContext) -> Reply:
    """Run the handler and say how it went; raises nothing."""
    try:
        handler = _load(request.handler)
        params = _params_model(handler).model_validate(request.params)
    except ValidationError as error:
        return _failure("invalid", _fields_of(error))
    except BaseException as error:
        return _failure("error", f"handler {request.handler} cannot be used: {_words(error)}")
    try:
        outcome = handler(params, context)
        # Tools that the handler let go of close their tables now, before anything is summed.
        gc.collect()
        return Result(result=plain_result(outcome), products=_products(context))
    except InvalidInput as error:
        return _failure("invalid", str(error))
    except NoWork as error:
        return _failure("no_work", str(error))
    except MemoryError as error:
        return _failure("memory", f"out of memory: {error}" if str(error) else "out of memory")
    except SystemExit as error:
        return _failure("error", f"the handler called exit({error.code})")
    except BaseException as error:
        return _failure("error", _words(error))


def _load(handler: str) -> Handler:
    module, _, function = handler.partition(":")
    found: Handler = getattr(importlib.import_module(module), function)
    return found


def _params_model(handler: Handler) -> type[BaseModel]:
    """Return the model that the handler's first parameter is annotated with."""
    first = next(iter(inspect.signature(handler).parameters.values()))
    model = first.annotation
    if isinstance(model, str):
        model = eval(model, getattr(handler, "__globals__", {}))  # noqa: S307 - an annotation of our own code
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"its first parameter {first.name!r} is not annotated with a pydantic model")
    return model


def _products(context: ChildContext) -> tuple[ProductNote, ...]:
    manifest.sync(context.products_dir)
    return tuple(_note(draft, context.products_dir) for draft in context.products)


def _note(draft: ProductDraft, directory: Path) -> ProductNote:
    size_bytes, checksum = manifest.measure(directory / draft.path)
    metrics = plain(dict(draft.metrics), f"metrics of product {draft.kind}")
    return ProductNote(
        kind=draft.kind,
        path=draft.path,
        metrics=metrics,
        verdict=draft.verdict,
        inputs=draft.inputs,
        size_bytes=size_bytes,
        checksum=checksum,
    )


def plain_result(outcome: object) -> dict[str, Any]:
    """Return a handler's result as a JSON object. Raises Unstorable, naming the field."""
    if outcome is None:
        return {}
    value = plain(outcome, "result")
    if not isinstance(value, dict):
        raise Unstorable(f"a handler returns a pydantic model, a dict or None, not {type(outcome).__name__}")
    return value


def plain(value: object, where: str) -> Any:
    """Return the value in JSON's own types. Raises Unstorable, naming the place, for NaN and foreign types."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"), where)
    if isinstance(value, Mapping):
        return {str(name): plain(part, f"{where}.{name}") for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, f"{where}[{index}]") for index, part in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unstorable(f"{where} is {value}: write None where there is no number")
        return float(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise Unstorable(f"{where} is a {type(value).__name__}, which JSON cannot hold")


def _fields_of(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(['params', *map(str, fault['loc'])])}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    )


def _failure(failure_class: protocol.ReplyClass, message: str) -> Failure:
    text = traceback.format_exc()
    sys.stderr.write(text)
    return Failure(failure_class=failure_class, message=message or failure_class, traceback=text)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


if __name__ == "__main__":
    main()
