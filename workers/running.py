"""Call a handler and put what comes of it into words that the protocol knows. No Django: the child uses it too."""

from __future__ import annotations

import importlib
import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks_app import manifest
from tasks_app.handler import Context, DirectoryContext, InvalidInput, NoWork, ProductDraft
from workers import protocol
from workers.protocol import Failure, ProductNote, Reply, Result

Handler = Callable[[BaseModel, Context], object]


class Unstorable(Exception):
    """A result holds something that JSON has no word for."""


def run_handler(path: str, params: Mapping[str, Any], context: Context, finish: Callable[[object], Result]) -> Reply:
    """Run the handler at `package.module:function` and say how it went; raises nothing.

    `finish` turns what the handler returned into the reply; what it raises is the handler's failure.
    """
    try:
        handler, model = load(path)
        checked = model.model_validate(params)
    except ValidationError as error:
        return _failure("invalid", _fields_of(error))
    except BaseException as error:
        return _failure("error", f"handler {path} cannot be used: {_words(error)}")
    try:
        return finish(handler(checked, context))
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


@cache
def load(path: str) -> tuple[Handler, type[BaseModel]]:
    """Return the handler and the model that its first parameter is annotated with."""
    module, _, function = path.partition(":")
    handler: Handler = getattr(importlib.import_module(module), function)
    return handler, _params_model(handler)


def _params_model(handler: Handler) -> type[BaseModel]:
    """Return the model that the handler's first parameter is annotated with."""
    first = next(iter(inspect.signature(handler).parameters.values()))
    model = first.annotation
    if isinstance(model, str):
        model = eval(model, getattr(handler, "__globals__", {}))  # noqa: S307 - an annotation of our own code
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"its first parameter {first.name!r} is not annotated with a pydantic model")
    return model


def product_notes(context: DirectoryContext) -> tuple[ProductNote, ...]:
    """Return what was declared, measured, with everything forced onto the disk."""
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
    return Failure(failure_class=failure_class, message=message or failure_class, traceback=traceback.format_exc())


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
