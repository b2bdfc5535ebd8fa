"""Code blocks of the documentation, for tests that run them as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
TITLE = re.compile(r'title="([\w./-]+)"')
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
SHELL = ("sh", "bash")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code on a page."""

    page: str
    line: int
    language: str
    title: str
    """Empty where no test runs it."""
    reason: str
    """Why no test runs it, from the comment before it."""
    code: str


def pages() -> list[Path]:
    """Return README and all documents but the decisions, which record what was thought once."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(path: Path) -> Iterator[Block]:
    """Yield the blocks of a page, the indented ones without a language."""
    comment = ""
    for token in MarkdownIt("commonmark").parse(path.read_text()):
        if token.type in ("fence", "code_block"):
            language, _, rest = token.info.partition(" ")
            title, reason = TITLE.search(rest), NOT_RUN.search(comment)
            yield Block(
                page=path.name, line=(token.map or [0])[0] + 1, language=language, title=title[1] if title else "",
                reason=reason[1] if reason else "", code=token.content,
            )  # fmt: skip
        comment = token.content if token.type == "html_block" else ""


def blocks(page: str, language: str = "python") -> dict[str, str]:
    """Return the titled code blocks of a page in a language, by their titles."""
    found = blocks_of(ROOT / "docs" / page)
    return {block.title: block.code for block in found if block.language == language and block.title}
