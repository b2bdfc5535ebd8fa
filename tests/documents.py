"""Titled code blocks of the documentation, for tests that run them as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'^```(?P<language>\w+) title="(?P<title>[\w./-]+)"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str = "python") -> dict[str, str]:
    """Return the titled code blocks of a page in a language, by their titles."""
    text = (ROOT / "docs" / page).read_text()
    return {found["title"]: found["code"] for found in BLOCK.finditer(text) if found["language"] == language}
