"""Names and texts use the standard terms of docs/contributing.md; private words stay out of source and documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPLICATIONS = ("tasks_app", "workers", "pipeline_app", "absurd_project")
NOWHERE = [
    "mend", "mends", "mended", "mending", "obey", "obeys", "obeyed", "so many", "told", "whoever", "begun", "anew",
    "door", "doors", "free of charge", "is it well", "in vain", "silence_sec", "budget_sec", "max_wait_sec",
    "limit_key", "runs_after",
]  # fmt: skip
"""Not in any source file or document."""
NOT_SHOWN = [
    *NOWHERE, "deed", "deeds", "total budget", "goes on", "go on", "by itself", "by themselves", "nobody",
    "somebody", "tried again", "changes of counts",
]  # fmt: skip
"""Not in any text that a user reads: strings of the source and documents outside docs/decisions."""
MODULES = {
    "audience", "calling", "crew", "descent", "desk", "enclosure", "figures", "glance", "hand", "looking", "peers",
    "settling", "tally", "wording",
}  # fmt: skip
"""Not the name of a module."""


def sources() -> Iterator[Path]:
    for application in APPLICATIONS:
        yield from (path for path in sorted((ROOT / application).rglob("*.py")) if "migrations" not in path.parts)


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def words_in(text: str, forbidden: list[str]) -> set[str]:
    pattern = "|".join(re.escape(word) for word in forbidden)
    return {
        " ".join(found.lower().split()) for found in re.findall(rf"(?<![\w-])({pattern})(?![\w-])", text, re.IGNORECASE)
    }


def shown_strings(source: str) -> Iterator[str]:
    """Yield the strings of a module with several words, docstrings and SQL left out."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        if " " in node.value.strip() and not re.search(r"\b(SELECT|UPDATE|INSERT|DELETE|WHERE)\b", node.value):
            yield node.value


def test_no_private_word_is_in_source_or_documents():
    paths = [*sources(), *documents(), *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    found = {str(path.relative_to(ROOT)): words for path in paths if (words := words_in(path.read_text(), NOWHERE))}
    assert found == {}


@pytest.mark.parametrize("application", APPLICATIONS)
def test_no_private_word_is_shown(application):
    found = [
        (str(path.relative_to(ROOT)), text)
        for path in sources()
        if path.relative_to(ROOT).parts[0] == application
        for text in shown_strings(path.read_text())
        if words_in(text, NOT_SHOWN)
    ]
    assert found == []


def test_no_private_word_is_in_documents():
    found = {path.name: words for path in documents() if (words := words_in(path.read_text(), NOT_SHOWN))}
    assert found == {}


def test_no_module_has_a_private_name():
    assert [str(path.relative_to(ROOT)) for path in sources() if path.stem in MODULES] == []
