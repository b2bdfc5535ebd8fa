"""The size of the product, measured: `python -m tests.architecture.measure [CHECKOUT]`.

It prints files and lines of each application, the median and the largest module, the raw SQL statements, the packages
that import each other, and how many files name each option of a task. CHECKOUT is another checkout, to compare with.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

APPLICATIONS = ("absurd_project", "workers", "pipeline_app", "tasks_app")
OPTIONS = (
    *("timeout_sec", "idle_timeout_sec", "total_timeout_sec", "queue_timeout_sec", "max_retries"),
    *("scheduled_at", "depends_on_runs", "concurrency_key"),
)
SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|DROP|ALTER|LOCK TABLE|TRUNCATE)\s[^\s]", re.ASCII
)


def tracked(checkout: Path, ending: str) -> list[str]:
    """Return the product's files with an ending that git tracks."""
    command = ["git", "ls-files", *(f"{each}/*{ending}" for each in APPLICATIONS)]
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout.splitlines()


def modules(checkout: Path) -> dict[str, Path]:
    """Return the product's Python files by module."""
    return {name.removesuffix(".py").replace("/", "."): checkout / name for name in tracked(checkout, ".py")}


def statements(tree: ast.AST) -> int:
    """Return how many texts of a module are SQL statements."""
    return sum(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(SQL.match(node.value))
        for node in ast.walk(tree)
    )


def cyclic_packages(trees: dict[str, ast.AST]) -> list[tuple[str, str]]:
    """Return the pairs of packages that import each other, directly."""
    packages = {name.rpartition(".")[0] for name in trees}
    imports = set()
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                own = name.rpartition(".")[0]
                other = node.module if node.module in packages else node.module.rpartition(".")[0]
                if other in packages and other != own and not _nested(own, other):
                    imports.add((own, other))
    return sorted(pair for pair in imports if pair[::-1] in imports and pair[0] < pair[1])


def _nested(one: str, other: str) -> bool:
    """Return whether one package lies in the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def main(checkout: Path) -> None:
    """Print the figures of a checkout."""
    files = modules(checkout)
    lines = {name: len(path.read_text().splitlines()) for name, path in files.items()}
    trees = {name: ast.parse(path.read_text()) for name, path in files.items()}
    print(f"{'application':<18}{'files':>7}{'lines':>8}")
    for application in (*APPLICATIONS, ""):
        inside = [count for name, count in lines.items() if name.startswith(application)]
        print(f"{application or 'all':<18}{len(inside):>7}{sum(inside):>8}")
    largest = max(lines, key=lambda name: lines[name])
    print(f"median module {statistics.median(lines.values()):.0f} lines, largest {largest} {lines[largest]}")
    n_files = len(tracked(checkout, ".sql"))
    print(f"SQL statements: {sum(map(statements, trees.values()))} in Python, {n_files} files of SQL")
    pairs = cyclic_packages(trees)
    print(f"packages that import each other: {len(pairs)}", *(f"{one} <-> {other}" for one, other in pairs), sep="\n  ")
    for option in OPTIONS:
        word = re.compile(rf"\b{option}\b")
        naming = [name for name, path in files.items() if word.search(path.read_text())]
        print(f"files that name {option}: {len(naming)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
