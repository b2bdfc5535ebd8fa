"""Markdown: tables, code and text from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks_app.admin.help import params_of

LANGUAGE_OF_COMMANDS = "text"


def text(value: object) -> str:
    """Return a text in one line, which is neither HTML nor the end of a cell; code in backticks stays."""
    parts = re.split(r"(`[^`]*`)", " ".join(str(value).split()).replace("|", r"\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", r"\*") for part in parts)


def code(value: object) -> str:
    """Return a value as code; nothing for an empty one."""
    return f"`{value}`".replace("|", r"\|") if str(value) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; empty without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]) if lines else ""


def page(title: str, *parts: str) -> str:
    """Return a page of parts, empty ones left out."""
    return "\n\n".join([f"# {title}", *filter(None, parts)]) + "\n"


def json_block(value: Any) -> str:
    """Return a block of JSON."""
    return f"```json\n{json.dumps(value, indent=2)}\n```"


def fields(schema: Mapping[str, Any], head: str = "param") -> str:
    """Return the table of what a JSON Schema describes."""
    rows = [
        (
            code(each.name),
            text(each.kind) + (f", {each.unit}" if each.unit else ""),
            "required" if each.is_required else code(each.default),
            text(each.description),
        )
        for each in params_of(schema)
    ]
    return table((head, "type", "default", ""), rows)
