"""What a task body may know of the system that runs it.

A handler is a function ``run(params, context) -> result`` whose params and result are pydantic models. It is imported
only in the child process, so this module stays free of Django.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class InvalidInput(Exception):
    """The parameters or the input files can never work: the task fails as ``invalid`` and is not retried."""


class NoWork(Exception):
    """There was nothing to do: the task completes, with class ``no_work`` and this message."""


class Unavailable(Exception):
    """This host lacks something now, which it may have later or another host has: the task is retried, there first.

    It costs no retry. Missing mounts, full disks and file systems that do not answer are recognised without it.
    """


@dataclass(frozen=True, kw_only=True)
class ProductDraft:
    """An output that the handler declares, before it is published."""

    kind: str
    path: str
    """Path relative to the attempt's products directory."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verdict: str | None = None
    inputs: tuple[str, ...] = ()


class Context(Protocol):
    """The handle of one attempt, given to its handler."""

    task_id: str
    attempt: int
    task_name: str
    attempt_dir: Path
    scratch_dir: Path
    data_roots: tuple[Path, ...]
    cores: int
    memory_gb: float

    def output(self, name: str) -> Path:
        """Return the path to write the output `name` to; its parent directories exist."""
        ...

    def published(self, path: Path) -> str:
        """Return the absolute path that the output `path` will have once the attempt is published."""
        ...

    def product(
        self,
        kind: str,
        path: Path,
        *,
        metrics: Mapping[str, Any] | None = None,
        verdict: str | None = None,
        inputs: Sequence[str] = (),
    ) -> None:
        """Declare the output `path` as a product of the given kind."""
        ...

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        """Report how far the work is: a fraction from 0 to 1, or None when unknown."""
        ...


class DirectoryContext:
    """Outputs and products kept below one directory; what the child and the test kit share."""

    def __init__(
        self,
        *,
        attempt_dir: Path,
        published_dir: Path,
        task_id: str,
        attempt: int,
        task_name: str,
        data_roots: Sequence[Path],
        other_roots: Sequence[str] = (),
        cores: int = 1,
        memory_gb: float = 1.0,
    ) -> None:
        self.task_id = task_id
        self.attempt = attempt
        self.task_name = task_name
        self.attempt_dir = attempt_dir
        self.products_dir = attempt_dir / "products"
        self.scratch_dir = attempt_dir / "scratch"
        self.published_dir = published_dir
        self.data_roots = tuple(data_roots)
        self.other_roots = tuple(other_roots)
        """Data roots that only other hosts have; what lies below them cannot be read here."""
        self.cores = cores
        self.memory_gb = memory_gb
        self.products: list[ProductDraft] = []

    def output(self, name: str) -> Path:
        path = self.products_dir / name
        self._relative(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def published(self, path: Path) -> str:
        return str(self.published_dir / self._relative(path))

    def product(
        self,
        kind: str,
        path: Path,
        *,
        metrics: Mapping[str, Any] | None = None,
        verdict: str | None = None,
        inputs: Sequence[str] = (),
    ) -> None:
        relative = self._relative(path)
        if not path.exists():
            raise FileNotFoundError(f"product {kind!r} was declared but {path} does not exist")
        self.products.append(
            ProductDraft(
                kind=kind,
                path=str(relative),
                metrics=dict(metrics or {}),
                verdict=verdict,
                inputs=tuple(inputs),
            )
        )

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        percent = "  --%" if fraction is None else f"{fraction:5.0%}"
        print(f"{percent} {message}", flush=True)

    def _relative(self, path: Path) -> Path:
        resolved = path.resolve()
        root = self.products_dir.resolve()
        if not resolved.is_relative_to(root):
            raise ValueError(f"{path} is outside the attempt's products directory {root}")
        return resolved.relative_to(root)
