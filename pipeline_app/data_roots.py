"""Which paths a task may name: data under ABSURD_DATA_ROOTS, and raw files that the ingest has registered.

The ingest is run by people with a shell on this machine; its files may lie anywhere. Callers who spawn tasks over the
network may name such a file afterwards, but no other file outside the roots.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from pydantic import BaseModel

from pipeline_app.models import SubbandFile
from tasks_app.engine.registry import Problem


def check_paths(params: BaseModel) -> list[Problem]:
    """Return a problem for each path in the params that no task may name; whether it exists shows at run time."""
    roots = [root.resolve() for root in settings.ABSURD_DATA_ROOTS]
    outside = [(field, path) for field, path in _paths(params) if not _is_below(path, roots)]
    registered = set(SubbandFile.objects.filter(path__in=[path for _, path in outside]).values_list("path", flat=True))
    listed = ":".join(map(str, settings.ABSURD_DATA_ROOTS))
    return [
        Problem(path=f"params.{field}", message=f"{path} is not an absolute path under ABSURD_DATA_ROOTS ({listed})")
        for field, path in outside
        if path not in registered
    ]


def _paths(params: BaseModel) -> Iterator[tuple[str, str]]:
    """Yield (field, path) of every param that names a file: `paths` and whatever ends in `_path`."""
    for name in sorted(params.model_fields_set):
        value = getattr(params, name)
        if name == "paths":
            yield from ((f"{name}.{index}", path) for index, path in enumerate(value))
        elif name.endswith("_path") and value is not None:
            yield name, value


def _is_below(path: str, roots: list[Path]) -> bool:
    if not path.startswith("/") or "\0" in path:
        return False
    resolved = Path(path).resolve()
    return any(resolved.is_relative_to(root) for root in roots)
