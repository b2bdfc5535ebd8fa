"""The packages in layers, computed from their imports: `python -m tests.architecture.map [--write]`.

A package imports only packages of lower layers; packages that import each other share a line. With --write the picture
in docs/contributing.md is replaced.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import grimp

APPLICATIONS = ("absurd_project", "workers", "pipeline_app", "tasks_app")
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "contributing.md"
START, END = "<!-- picture: python -m tests.architecture.map -->\n```text\n", "```\n<!-- end of picture -->\n"


def picture() -> str:
    """Return the layers of the applications, then those of the packages in each."""
    graph = grimp.build_graph(*APPLICATIONS, exclude_type_checking_imports=True)
    lines = _layers(graph, set(APPLICATIONS))
    for application in APPLICATIONS:
        packages = {child for child in graph.find_children(application) if graph.find_children(child)}
        packages -= {f"{application}.{name}" for name in ("migrations", "templatetags")}
        if packages:
            lines += ["", f"{application}:", *_layers(graph, packages)]
    return "\n".join(lines) + "\n"


def _layers(graph: grimp.ImportGraph, packages: set[str]) -> list[str]:
    """Return a line for each package, with a rule between the layers, the highest layer first."""
    groups = _cycles({package: _imported(graph, package, packages) for package in packages})
    ranks: dict[tuple[str, ...], int] = {}

    def rank(group: tuple[str, ...]) -> int:
        if group not in ranks:
            below = [other for other in groups if other != group and groups[group] & set(other)]
            ranks[group] = 1 + max(map(rank, below), default=0)
        return ranks[group]

    layers: dict[int, list[str]] = {}
    for group in sorted(groups):
        name = " <-> ".join(package.rpartition(".")[2] for package in group)
        layers.setdefault(rank(group), []).append(f"  {name:<22}{_purpose(group[0])}".rstrip())
    lines: list[str] = []
    for level in sorted(layers, reverse=True):
        lines += [*(["  " + "-" * 20] if lines else []), *layers[level]]
    return lines


def _purpose(package: str) -> str:
    """Return the first line of a package's docstring."""
    tree = ast.parse((ROOT / Path(*package.split(".")) / "__init__.py").read_text())
    return (ast.get_docstring(tree) or "").split("\n", 1)[0].rstrip(".")


def _imported(graph: grimp.ImportGraph, package: str, packages: set[str]) -> set[str]:
    """Return which of the packages a package imports directly."""
    modules = {package, *graph.find_descendants(package)}
    targets = {target for module in modules for target in graph.find_modules_directly_imported_by(module)}
    return {other for other in packages - {package} if any(f"{target}.".startswith(f"{other}.") for target in targets)}


def _cycles(imports: dict[str, set[str]]) -> dict[tuple[str, ...], set[str]]:
    """Return the packages, those that import each other as one group, with what each group imports."""
    reached = {each: _reached(each, imports) for each in imports}
    groups = {tuple(sorted({each} | {other for other in reached[each] if each in reached[other]})) for each in imports}
    return {group: set().union(*(imports[each] for each in group)) - set(group) for group in groups}


def _reached(start: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        for other in imports[left.pop()] - found:
            found.add(other)
            left.append(other)
    return found


def documented() -> str:
    """Return the picture in the document."""
    return DOCUMENT.read_text().partition(START)[2].partition(END)[0]


def write() -> None:
    """Replace the picture in the document."""
    before, _, rest = DOCUMENT.read_text().partition(START)
    DOCUMENT.write_text(before + START + picture() + END + rest.partition(END)[2])


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        write()
    else:
        sys.stdout.write(picture())
