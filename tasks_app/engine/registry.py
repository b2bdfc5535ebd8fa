"""Task names and what is known of each: handler, params, limits."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ValidationError

from tasks_app.engine.options import TaskOptions
from tasks_app.errors import ParamsInvalid, UnknownTaskName
from tasks_app.validation import message_of


class Problem(TypedDict):
    """One fault of a spawn: the dotted path of the field and what is wrong with it."""

    path: str
    message: str


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task name."""

    name: str
    handler: str
    """Dotted path `package.module:function`, imported only where the attempt runs."""
    params_model: type[BaseModel]
    description: str = ""
    timeout_sec: int | None = None
    max_retries: int | None = None
    requires: tuple[str, ...] = ()
    """Top-level modules of its handler that may be missing; a worker without them does not claim it."""
    memory_gb: float = 1.0
    cores: int = 1
    """Counted over all workers of a host; 0 for what takes next to no processor time."""
    disk_gb: float = 0.0
    isolation: Literal["process", "thread"] = "process"
    """`thread` is for short pure-Python work: it runs in the worker itself and cannot be killed."""
    warm: str | None = None
    """A module that a spare child imports before there is an attempt; it has a function `hand_over()`, called then."""
    retried: frozenset[str] | None = None
    """Failure classes after which the task is retried; None: those of `policies.RETRIED`."""
    backoff_base_sec: float | None = None
    backoff_cap_sec: float | None = None
    check_log: str | None = None
    """Dotted path of a function called in the child when the handler has returned, with the path of the log and the
    offset where the attempt began in it; what it raises is the failure of the attempt."""
    stable_inputs: bool = True
    """Whether an attempt in a process has failed when what its params name by absolute paths changed while it ran."""
    check_params: Callable[[BaseModel], list[Problem]] | None = None
    """Called at spawn with the params that were given, for what a model alone cannot know. Fields that parents fill in
    later are not set."""
    on_complete: str | None = None
    """Dotted path of a function called with the completed task inside the completing transaction."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the params."""
        return self.params_model.model_json_schema()


DEFAULTED = tuple(each.name for each in fields(TaskSpec) if each.name in TaskOptions.model_fields)
"""Options for which a task name has defaults; None where the queue or the settings decide."""

_specs: dict[str, TaskSpec] = {}


def register(spec: TaskSpec) -> None:
    """Add a task name; registering the same name twice is a programming error."""
    if _specs.get(spec.name, spec) != spec:
        raise ValueError(f"task name {spec.name!r} is already registered")
    _specs[spec.name] = spec


def get(name: str) -> TaskSpec:
    """Return the spec of a task name.

    Raises UnknownTaskName, naming the nearest known ones.
    """
    try:
        return _specs[name]
    except KeyError:
        raise UnknownTaskName(name, difflib.get_close_matches(name, _specs, n=3)) from None


def find(name: str) -> TaskSpec | None:
    """Return the spec of a task name, or None where this process does not know it."""
    return _specs.get(name)


def names() -> list[str]:
    """Return the registered task names in order."""
    return sorted(_specs)


def runnable_names() -> list[str]:
    """Return the registered task names whose required modules are installed here, in order."""
    return [name for name in names() if all(map(_is_installed, _specs[name].requires))]


@cache
def _is_installed(module: str) -> bool:
    return find_spec(module) is not None


def most_cores() -> int:
    """Return the largest number of cores that a known task name declares."""
    return max((spec.cores for spec in _specs.values()), default=0)


def most_disk_gb() -> float:
    """Return the largest disk space that a known task name declares."""
    return max((spec.disk_gb for spec in _specs.values()), default=0.0)


def check_params(spec: TaskSpec, params: dict[str, Any], bound: Collection[str] = ()) -> dict[str, Any]:
    """Return the params as they will be stored.

    `bound` names the params that parents' results will fill later; they may be missing now.
    Raises ParamsInvalid with the path of each bad field.
    """
    try:
        checked = spec.params_model.model_validate(params)
    except ValidationError as error:
        problems = [
            Problem(path=".".join(["params", *map(str, fault["loc"])]), message=message_of(fault))
            for fault in error.errors(include_url=False, include_input=False)
            if not (fault["type"] == "missing" and fault["loc"][:1] and fault["loc"][0] in bound)
        ]
        if problems:
            raise ParamsInvalid(problems) from None
        checked = spec.params_model.model_construct(**params)
    problems = _unknown_bindings(spec, bound) if bound else []
    if problems:
        raise ParamsInvalid(problems)
    problems = spec.check_params(checked) if spec.check_params else []
    if problems:
        raise ParamsInvalid(problems)
    return params


def _unknown_bindings(spec: TaskSpec, bound: Collection[str]) -> list[Problem]:
    """Return a problem for each bound param that the model would refuse as unknown when the attempt runs."""
    model = spec.params_model
    if model.model_config.get("extra") != "forbid":
        return []
    known = {name for field, info in model.model_fields.items() for name in (field, info.alias)}
    return [
        Problem(path=f"bindings.{name}", message="is no param of this task name") for name in bound if name not in known
    ]
