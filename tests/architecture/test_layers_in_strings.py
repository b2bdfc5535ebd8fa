"""A layer that is got around by a string is broken all the same: dotted names in strings keep the layers of imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAY_NAME = {
    "tasks_app": {"tasks_app"},
    "pipeline_app": {"pipeline_app", "tasks_app"},
    "workers": {"workers", "tasks_app"},
    "absurd_project": {"absurd_project", "workers", "pipeline_app", "tasks_app"},
}
EXCEPT = {"tasks_app/client/database_setup.py": "absurd_project.settings"}
"""A program without Django that opens the database needs the settings of a project: this one."""
PACKAGES = "|".join(MAY_NAME)
DOTTED = re.compile(rf"(?<![\w./])(?:{PACKAGES})(?:\.\w+)+|(?:from|import) (?:{PACKAGES})\b")


def named_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each module of ours that a string of the file names, docstrings left out."""
    tree = ast.parse(path.read_text())
    explained = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in explained:
            for found in DOTTED.finditer(node.value):
                yield node.lineno, found.group().removeprefix("from ").removeprefix("import ")


def test_strings_name_only_modules_that_may_be_imported():
    broken = [
        f"{path.relative_to(ROOT)}:{line} names {name}"
        for package, allowed in MAY_NAME.items()
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, name in named_in(path)
        if name.split(".")[0] not in allowed and EXCEPT.get(str(path.relative_to(ROOT))) != name
    ]
    assert broken == []
