"""Workflows by name: the params of a run of each, and its plan."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from tasks_app.errors import ParamsInvalid
from tasks_app.validation import message_of

if TYPE_CHECKING:
    from tasks_app.models import Run


@dataclass(frozen=True, kw_only=True)
class WorkflowSpec:
    """One workflow."""

    name: str
    params_model: type[BaseModel]
    start: Callable[[Any, str], Run]
    """Called with the checked params and the actor; creates the run with all its tasks."""
    description: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the params."""
        return self.params_model.model_json_schema()


_specs: dict[str, WorkflowSpec] = {}


def register(spec: WorkflowSpec) -> None:
    """Add a workflow; registering the same name twice is a programming error."""
    if _specs.get(spec.name, spec) != spec:
        raise ValueError(f"workflow {spec.name!r} is already registered")
    _specs[spec.name] = spec


def forget(name: str) -> None:
    """Remove a workflow that was registered for a while, as in a test."""
    _specs.pop(name, None)


def find(name: str) -> WorkflowSpec | None:
    """Return the workflow, or None where this process does not know it."""
    return _specs.get(name)


def known() -> list[WorkflowSpec]:
    """Return the registered workflows by name."""
    return [_specs[name] for name in sorted(_specs)]


def start(name: str, params: Mapping[str, Any], *, actor: str) -> Run:
    """Begin a run of the workflow.

    Raises ParamsInvalid with the path of each bad field, for an unknown workflow too, and what spawning raises.
    """
    spec = _specs.get(name)
    if spec is None:
        near = difflib.get_close_matches(name, _specs, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; give the stages of a run of your own"
        raise ParamsInvalid([{"path": "workflow", "message": f"unknown workflow {name!r}{hint}"}])
    try:
        checked = spec.params_model.model_validate(dict(params))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise ParamsInvalid(
            [{"path": ".".join(["params", *map(str, fault["loc"])]), "message": message_of(fault)} for fault in faults]
        ) from None
    return spec.start(checked, actor)
