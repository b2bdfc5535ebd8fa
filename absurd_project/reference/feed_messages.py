"""Every message of the live feed, from the JSON Schema that its messages are held against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from absurd_project.reference import markdown
from tasks_app.api.views.feed import SCHEMA as PATH

SCHEMA = json.loads(PATH.read_text())

INTRODUCTION = """
Made from the JSON Schema that a server gives at `/api/absurd/feed/schema`. Messages may gain fields; ignore those
that you do not know.
"""


def page() -> str:
    """Return the page."""
    parts = [" ".join(INTRODUCTION.split())]
    for named in SCHEMA["oneOf"]:
        name = named["$ref"].rpartition("/")[2]
        message = SCHEMA["$defs"][name]
        examples = [markdown.json_block(each) for each in message.get("examples", ())]
        parts += [f"## {name}", markdown.text(message["description"]), _fields(message), *examples]
    return markdown.page("Messages of the feed", *parts)


def _fields(message: Mapping[str, Any]) -> str:
    rows = []
    for name, shape in message["properties"].items():
        whole = _whole(shape)
        needed = "" if name in message["required"] else "may be absent"
        rows.append((markdown.code(name), _kind(whole), needed, markdown.text(whole.get("description", ""))))
    return markdown.table(("field", "type", "", ""), rows)


def _whole(shape: Any) -> Mapping[str, Any]:
    if not isinstance(shape, Mapping):  # `true`: anything
        return {}
    found: Mapping[str, Any] = SCHEMA["$defs"][shape["$ref"].rpartition("/")[2]] if "$ref" in shape else shape
    return found


def _kind(shape: Mapping[str, Any]) -> str:
    if "const" in shape:
        return f"`{shape['const']}`"
    words = shape.get("enum") or shape.get("type") or "any"
    return " or ".join(map(str, words)) if isinstance(words, list) else str(words)
