"""The documents of the project as pages of the console, the runbook first: for who has no checkout at hand."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import slugify
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tasks_app.admin import pages

RUNBOOK = "operating"
ENTRIES = "check"
"""Head of the column whose names have addresses of their own."""


def address(name: str, heading: str = "") -> str:
    """Return the address of a document, or of a heading or a table's entry in it."""
    return reverse("admin:page_document", args=[name]) + (f"#{slugify(heading)}" if heading else "")


def directory() -> Path:
    """Return where the documents are."""
    return Path(settings.ABSURD_DOCS)


def names() -> list[str]:
    """Return the documents that there are."""
    return sorted(path.stem for path in directory().glob("*.md"))


@lru_cache(maxsize=32)
def read(path: Path) -> tuple[str, SafeString]:
    """Return the title of a document, and the rest of it as HTML. Its own HTML is not let through."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(path.read_text(encoding="utf-8"))
    title = tokens[1].content if tokens and tokens[0].tag == "h1" else path.stem
    first_column = ""
    for token, following, content in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if token.type == "heading_open":
            token.attrSet("id", slugify(following.content))
        elif token.type == "table_open":
            first_column = ""
        elif token.type == "th_open":
            first_column = first_column or following.content
        elif (token.type, following.type) == ("tr_open", "td_open") and first_column == ENTRIES:
            _mark_entries(content)
    for token in tokens:
        for child in token.children or ():
            _lead_on(child)
    rest = tokens[3:] if tokens and tokens[0].tag == "h1" else tokens
    return title, SafeString(parser.renderer.render(rest, parser.options, {}))


def _mark_entries(cell: Token) -> None:
    marks = [f'<span id="{slugify(name)}"></span>' for name in cell.content.split(", ")]
    cell.children = [Token("html_inline", "", 0, content="".join(marks)), *(cell.children or ())]


def _lead_on(token: Token) -> None:
    """Let a link to another document lead to its page."""
    found = (
        re.fullmatch(r"([a-z-]+)\.md(#.*)?", str(token.attrGet("href") or "")) if token.type == "link_open" else None
    )
    if found:
        token.attrSet("href", reverse("admin:page_document", args=[found[1]]) + (found[2] or ""))


def view(request: HttpRequest, name: str) -> HttpResponseBase:
    """One document."""
    if name not in names():
        raise Http404(f"there is no document {name!r}; there are {', '.join(names())}")
    title, text = read(directory() / f"{name}.md")
    back = pages.Link(label="Help", address=reverse("admin:page_help"))
    return pages.render(request, "admin/document.html", title=title, back=back, context={"text": text})


pages.add(pages.Page(route="help/<slug:name>/", name="document", view=view, permission="tasks_app.view_task"))
