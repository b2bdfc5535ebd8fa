"""Sphinx's settings for the site of the documentation; `build.py` calls it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

project = "Absurd for DSA-110"
html_title = "Absurd"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
highlight_language = "text"
# Anchors of headings, in the form that GitHub and the console use, so that strict mode finds those that are missing.
myst_heading_anchors = 4
SECTION = re.compile(r"^## (.+)\n\n((?:- .*\n)+)", re.MULTILINE)
LINK = re.compile(r"^- \[[^]]*\]\(([^)#]+)\)", re.MULTILINE)


def add_navigation(app: Any, name: str, source: list[str]) -> None:
    """Make the navigation from the lists of links of the index, which is written for readers of the repository."""
    if name == "index":
        generated = sorted(f"reference/{path.name}" for path in (Path(app.srcdir) / "reference").glob("*.md"))
        for title, links in SECTION.findall(source[0]):
            pages = [link.replace("decisions/", "decisions/index.md") for link in LINK.findall(links)]
            if title == "Reference":
                pages[1:1] = generated
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"
    source[0] = source[0].replace("](decisions/)", "](decisions/index.md)")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_navigation)
