"""Call a handler and say in the queue's words how it went. No Django here, so that any process may do it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from tasks_app import cleaning
from tasks_app.cleaning import Unstorable, json_value
from tasks_app.engine.handler import Context, InvalidInput, NoWork, Unavailable
from tasks_app.files import host_faults
from tasks_app.validation import message_of

Handler = Callable[[BaseModel, Context], object]
RaisedClass = Literal["error", "invalid", "no_work", "memory", "unavailable"]
Finished = TypeVar("Finished")


class HandlerMissing(Exception):
    """The handler cannot be imported here; a host with another installation may have it."""


@dataclass(frozen=True, kw_only=True)
class Raised:
    """The handler did not return a result."""

    failure_class: RaisedClass
    message: str
    traceback: str
    exception: BaseException = field(repr=False)


def call(
    path: str, params: Mapping[str, Any], context: Context, finish: Callable[[object], Finished]
) -> Finished | Raised:
    """Run the handler at `package.module:function` and say how it went; raises nothing.

    `finish` turns what the handler returned into what is kept of it; what it raises is the handler's failure. What
    failed because of the host is `unavailable`, whatever the handler made of it.
    """
    came = _call(path, params, context, finish)
    if not isinstance(came, Raised) or came.failure_class in ("memory", "unavailable"):
        return came
    lacked = host_faults.reason(
        came.exception,
        params,
        context.data_roots,
        *_places(context),
        other_roots=getattr(context, "other_roots", ()),  # a context of one's own need not have them
    )
    if not lacked:
        return came
    message = cleaning.text(lacked if came.message in lacked else f"{lacked}\n{came.message}")
    return replace(came, failure_class="unavailable", message=message)


def _places(context: Context) -> list[Path]:
    """Return where the handler writes, as far as it can be had on a host that lacks something."""
    places = []
    with contextlib.suppress(OSError):
        places.append(context.scratch_dir)
    with contextlib.suppress(OSError):
        places.append(Path(tempfile.gettempdir()))
    return places


def _call(
    path: str, params: Mapping[str, Any], context: Context, finish: Callable[[object], Finished]
) -> Finished | Raised:
    try:
        handler, model = load(path)
        checked = model.model_validate(params)
    except ValidationError as error:
        return _raised("invalid", _fields_of(error), error)
    except HandlerMissing as error:
        return _raised("unavailable", cleaning.text(error), error)
    except BaseException as error:
        return _raised("error", f"handler {path} cannot be used: {cleaning.words(error)}", error)
    try:
        return finish(handler(checked, context))
    except InvalidInput as error:
        return _raised("invalid", cleaning.text(error), error)
    except NoWork as error:
        return _raised("no_work", cleaning.text(error), error)
    except Unavailable as error:
        return _raised("unavailable", cleaning.text(error), error)
    except MemoryError as error:
        said = cleaning.text(error)
        return _raised("memory", f"out of memory: {said}" if said else "out of memory", error)
    except SystemExit as error:
        return _raised("error", f"the handler called exit({cleaning.text(error.code)})", error)
    except BaseException as error:
        return _raised("error", cleaning.words(error), error)


@cache
def load(path: str) -> tuple[Handler, type[BaseModel]]:
    """Return the handler and the model that its first parameter is annotated with. Raises HandlerMissing."""
    try:
        handler: Handler = resolve(path)
    except Exception as error:
        reason = cleaning.words(error)
        raise HandlerMissing(f"handler {path} cannot be imported on this host: {reason}") from error
    return handler, _params_model(handler)


def resolve(path: str) -> Callable[..., Any]:
    """Return the function at `package.module:function`. Raises what its import raises."""
    module, _, function = path.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _params_model(handler: Handler) -> type[BaseModel]:
    first = next(iter(inspect.signature(handler).parameters.values()))
    model = first.annotation
    if isinstance(model, str):
        model = eval(model, getattr(inspect.unwrap(handler), "__globals__", {}))  # noqa: S307 - an annotation of our own code
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"its first parameter {first.name!r} is not annotated with a pydantic model")
    return model


def plain_result(outcome: object) -> dict[str, Any]:
    """Return a handler's result as a JSON object. Raises Unstorable, naming the field."""
    if outcome is None:
        return {}
    value = json_value(outcome, "result")
    if not isinstance(value, dict):
        raise Unstorable(f"a handler returns a pydantic model, a dict or None, not {type(outcome).__name__}")
    return value


def _fields_of(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(['params', *map(str, fault['loc'])])}: {message_of(fault)}"
        for fault in error.errors(include_url=False, include_input=False)
    )


def _raised(failure_class: RaisedClass, message: str, error: BaseException) -> Raised:
    return Raised(
        failure_class=failure_class,
        message=cleaning.text(message) or failure_class,
        traceback=cleaning.traceback_of(error),
        exception=error,
    )
