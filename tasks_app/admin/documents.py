"""The documents of the project as pages of the console, also those that are made from the code."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
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


INDEX = "index"
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)
"""Notes to those who edit a document."""
DOCUMENT = re.compile(r"(?:[\w-]+/)*([\w-]+)\.md(#.*)?|(decisions)/")
PICTURE = re.compile(r"img/([\w-]+)\.png")


def address(name: str, heading: str = "") -> str:
    """Return the address of a document, or of a heading or a table's entry in it."""
    return reverse("admin:page_document", args=[name]) + (f"#{slugify(heading)}" if heading else "")


def directory() -> Path:
    """Return where the documents are."""
    return Path(settings.ABSURD_DOCS)


def names() -> list[str]:
    """Return the documents that there are: files first, then those made from the code."""
    return [*_files(), *GENERATED]


def decisions() -> str:
    """Return the list of decisions; their titles are those of their pages."""
    paths = sorted((directory() / "decisions").glob("*.md"))
    titles = [(path.name, path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")) for path in paths]
    return "# Decisions\n\n" + "".join(f"- [{title}]({name})\n" for name, title in titles)


GENERATED: dict[str, Callable[[], str]] = {"decisions": decisions}
"""Documents that are made, by name: this project adds its reference."""


def _files() -> dict[str, Path]:
    """Return the documents that are files, the index first."""
    found = [*directory().glob("*.md"), *sorted((directory() / "decisions").glob("*.md"))]
    return {path.stem: path for path in sorted(found, key=lambda path: (path.stem != INDEX, path))}


@lru_cache(maxsize=32)
def read(name: str) -> tuple[str, SafeString]:
    """Return the title of a document, and the rest of it as HTML. Its own HTML is not let through."""
    path = _files().get(name)
    markdown = path.read_text(encoding="utf-8") if path else GENERATED[name]()
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(COMMENT.sub("", markdown))
    title = tokens[1].content if tokens and tokens[0].tag == "h1" else name
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
    """Let a link to another document, or to a picture, lead to its page."""
    target = str(token.attrGet("href") or "") if token.type == "link_open" else ""
    if found := DOCUMENT.fullmatch(target):
        token.attrSet("href", address(found[1] or found[3]) + (found[2] or ""))
    elif found := PICTURE.fullmatch(target):
        token.attrSet("href", reverse("admin:page_picture", args=[found[1]]))


def view(request: HttpRequest, name: str) -> HttpResponseBase:
    """One document."""
    if name not in names():
        raise Http404(f"there is no document {name!r}; there are {', '.join(names())}")
    title, text = read(name)
    back = pages.Link(label="Help", address=reverse("admin:page_help"))
    return pages.render(request, "admin/document.html", title=title, back=back, context={"text": text})


def picture(_: HttpRequest, name: str) -> HttpResponseBase:
    """A picture of a document."""
    path = directory() / "img" / f"{name}.png"
    if not path.is_file():
        raise Http404(f"there is no picture {name!r}")
    return HttpResponse(path.read_bytes(), content_type="image/png")


pages.add(pages.Page(route="help/img/<slug:name>.png", name="picture", view=picture, permission="tasks_app.view_task"))
pages.add(pages.Page(route="help/<slug:name>/", name="document", view=view, permission="tasks_app.view_task"))
