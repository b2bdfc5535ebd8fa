from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWNER = ROOT / "tasks_app" / "engine"
ELSEWHERE = {
    ROOT / "absurd_project" / "benchmark" / "load.py",  # writes into a database of its own, to measure what it costs
    ROOT / "tasks_app" / "maintenance" / "old_system.py",  # forms the document of an archived task, saves no task
}
PACKAGES = ("absurd_project", "workers", "pipeline_app", "tasks_app")
SQL = re.compile(r"\bSET\b(?:(?!\bWHERE\b|\bFROM\b)[^;])*?\bstatus\s*=|INSERT INTO tasks_app_task\b")
WRITERS = {"update", "create", "bulk_update", "update_or_create", "get_or_create"}


def writes_of_status(source: str) -> Iterator[int]:
    """Yield the lines of `task.status = …`, `.update(status=…)`, `Task(status=…)` and SQL that sets a task's status."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Attribute) and t.attr == "status" and not is_self(t) for t in targets):
                yield node.lineno
        elif isinstance(node, ast.Call) and any(keyword.arg == "status" for keyword in node.keywords):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in WRITERS or name == "Task":
                yield node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value):
            yield node.lineno


def is_self(target: ast.Attribute) -> bool:
    return isinstance(target.value, ast.Name) and target.value.id == "self"


def test_only_the_transitions_write_a_tasks_status():
    guilty = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path not in ELSEWHERE and OWNER not in path.parents and "migrations" not in path.parts
        for line in writes_of_status(path.read_text())
    ]
    assert guilty == []


def test_the_search_finds_the_writes_of_the_owner():
    sources = [*OWNER.glob("*.py"), *(OWNER / "sql").glob("*.sql")]
    found = {
        path.name
        for path in sources
        if SQL.search(path.read_text()) or (path.suffix == ".py" and list(writes_of_status(path.read_text())))
    }
    assert {"claim.sql", "complete.sql", "insert.sql", "move.py"} <= found


def test_no_module_has_more_than_500_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for package in (*PACKAGES, "tests")
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == {}
