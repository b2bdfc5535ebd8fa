"""Where each operation is found over HTTP, for the server and for the client, which loads no Django."""

from __future__ import annotations

import re
from string import Formatter
from typing import NamedTuple

TARGETS = {
    "task": "tasks/{task_id}",
    "run": "runs/{run_id}",
    "worker": "workers/{worker_id}",
    "queue": "queues/{queue_name}",
    "schedule": "schedules/{name}",
    "limit": "limits/{scope}/{name}",
    "system": "",
    "calibration": "pipeline/calibrations/{pk}",
    "image": "pipeline/products/{pk}",
}
"""The path of each kind of target; those of applications too, because the client knows nothing else of them."""
_ON_TARGET = {
    ("task", "cancel"): "DELETE",
    ("schedule", "save"): "PUT",
    ("schedule", "change"): "PATCH",
    ("schedule", "delete"): "DELETE",
    ("limit", "set"): "PUT",
    ("limit", "remove"): "DELETE",
}
_PATHS = {
    ("task", "reprioritize"): "priority",
    ("system", "emergency-stop"): "emergency/stop",
    ("system", "emergency-recover"): "emergency/recover",
    ("system", "acknowledge"): "health/acknowledge",
}


class Route(NamedTuple):
    """A method and a path below the root of the API, with the parts of the target's key in braces."""

    method: str
    path: str

    @property
    def parts(self) -> list[str]:
        """The names of the parts of the key, in order."""
        return [name for _, name, _, _ in Formatter().parse(self.path) if name]

    @property
    def pattern(self) -> str:
        """The path as Django writes it; keys of rows are numbers."""
        return re.sub(r"{(\w+)}", lambda part: f"<{'int' if part[1] == 'pk' else 'str'}:{part[1]}>", self.path)

    def address(self, *key: str) -> str:
        """Return the path with the parts of a key in their places. Raises ValueError for the wrong number."""
        return self.path.format(**dict(zip(self.parts, key, strict=True)))


def route_of(kind: str, name: str) -> Route:
    """Return the route of an operation: its name as a POST below its target, save a few."""
    if method := _ON_TARGET.get((kind, name)):
        return Route(method, TARGETS[kind])
    return Route("POST", "/".join(part for part in (TARGETS[kind], _PATHS.get((kind, name), name)) if part))
