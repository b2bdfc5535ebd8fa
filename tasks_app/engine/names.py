"""Which names queues and limit keys may have: those that need no quoting in a shell, an address or a page."""

from __future__ import annotations

import re

QUEUE_CHARS, KEY_CHARS = 100, 200
NAME, KEY = r"[A-Za-z0-9][A-Za-z0-9._-]*", r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]*"
SHOWN_CHARS = 60


def fault_of_name(name: str) -> str:
    """Return what is wrong with the name of a queue; nothing when it may be used."""
    allowed = "letters, digits, dots, hyphens and underscores"
    return _fault(NAME, name, QUEUE_CHARS, allowed)


def fault_of_key(key: str) -> str:
    """Return what is wrong with a limit key; nothing when it may be used."""
    return _fault(KEY, key, KEY_CHARS, "letters, digits and . _ : / @ + = -")


def _fault(allowed: str, text: str, most: int, words: str) -> str:
    if len(text) <= most and re.fullmatch(allowed, text):
        return ""
    shown = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
    return f"must be 1 to {most} {words}, the first a letter or digit (got {shown!r})"
