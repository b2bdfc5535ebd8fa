"""Marks tests by what they do, so that a quick subset can be chosen: none forgets to be marked."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import pytest

STARTS_PROCESSES = {"live_environment", "private_servers", "fresh"}
"""Fixtures for what is started beside the tests."""
RUNS_CASA = {"reduced"}
EXHAUSTIVE = {
    *(
        "test_fuzz",
        "test_injection",
        "test_console_matrix",
        "test_api_matrix",
        "test_routes",
        "test_reading_changes_nothing",
    ),
    *("test_claim_cost", "test_bulk_sameness", "test_bulk_cost", "test_large", "test_odd_raw_files", "test_many"),
    *("test_openapi_live", "test_simulated_nights", "test_faint_fluxes"),
}
"""Modules that try every route, group, payload or defect, reduce whole nights or hundreds of sources, or work on a
hundred thousand rows."""
_CASA = re.compile(r"\b(pipeline_app\.casa|casatools|casatasks|casacore|pyuvdata)\b")
_WORD = re.compile(r"\w+")
_PROCESS = re.compile(r"\b(subprocess|Popen|serving)\b")


def mark(items: Sequence[pytest.Item]) -> None:
    """Add the marker `casa` to tests that run CASA or pyuvdata, `live` to those that start processes, and `commits`
    to those after which the database is emptied, because their transactions are real; `exhaustive` to those that try
    everything, or random histories.
    """
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        fixtures = set(item.fixturenames)
        own, module = _source(item.function), _imports(item.module)
        if fixtures & RUNS_CASA or _CASA.search(own) or _CASA.search(module):
            item.add_marker(pytest.mark.casa)
        if fixtures & STARTS_PROCESSES or _PROCESS.search(own) or _starters(item.module) & set(_WORD.findall(own)):
            item.add_marker(pytest.mark.live)
        exhaustive = item.module.__name__.rpartition(".")[2] in EXHAUSTIVE
        if exhaustive or hasattr(item.function, "hypothesis") or "100000" in item.name or "RuleBased" in own + module:
            item.add_marker(pytest.mark.exhaustive)
        if "transactional_db" in fixtures or _commits(item):
            item.add_marker(pytest.mark.commits)


def _commits(item: pytest.Item) -> bool:
    return any(marker.kwargs.get("transaction") for marker in item.iter_markers("django_db"))


def _source(function: object) -> str:
    try:
        return inspect.getsource(function)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""


@cache
def _imports(module: ModuleType) -> str:
    """Return the import lines of a module's top level."""
    return "\n".join(re.findall(r"^(?:from|import) .*", inspect.getsource(module), re.MULTILINE))


@cache
def _starters(module: ModuleType) -> frozenset[str]:
    """Return the names of a module's own functions that start processes, also through one another."""
    sources = {name: _source(each) for name, each in vars(module).items() if inspect.isfunction(each)}
    found = {name for name, source in sources.items() if _PROCESS.search(source)}
    while more := {name for name, source in sources.items() if found & set(_WORD.findall(source))} - found:
        found |= more
    return frozenset(found)
