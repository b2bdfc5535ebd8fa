"""What the documentation names: commands with their options, variables, targets of make, paths, routes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

from tests.documents import SHELL, blocks_of


def spans(path: Path) -> Iterator[str]:
    """Yield the pieces of code in the text of a page."""
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text()):
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content


def code(path: Path) -> Iterator[str]:
    """Yield the lines of shell blocks and the pieces of code of a page."""
    for block in blocks_of(path):
        if block.language in SHELL:
            yield from re.sub(r"\\\n\s*", "", block.code).splitlines()
    yield from spans(path)


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the calls of our commands: the name and its arguments."""
    for line in code(path):
        for found in re.finditer(r"(?<![\w/.-])(absurd_[a-z_]+|runworker)(?![\w/.(=…]|_)", line):
            yield [found[1], *_arguments(line[found.end() :])]


def _arguments(text: str) -> list[str]:
    """Return the words up to the end of a command; the brackets of a synopsis are left out."""
    text = re.split(r"\s#\s|[;&`)]|\s\|\s", text.replace("\\|", "|"))[0]
    lexer = shlex.shlex(text.replace("[", " ").replace("]", " "), posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return [word.rstrip(",.:") for word in lexer]
    except ValueError:  # an open quote: the rest belongs to a sentence
        return text.split()
