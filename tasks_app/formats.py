"""Text for people, the same in all interfaces: moments, durations, counts; text from outside is made safe to show.

No Django.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime


def moment(at: datetime) -> str:
    """Write a moment in UTC with a Z, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def duration(seconds: float) -> str:
    """Write a duration in the two units that matter."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def roughly(seconds: float) -> str:
    """Write an estimated duration in one unit, because more would pretend to know it."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"


def first_line(text: str | None, chars: int) -> str:
    """Return the first line of an error, shortened."""
    line = (text or "").strip().split("\n", 1)[0]
    return line if len(line) <= chars else line[: chars - 1] + "…"


def counted(n: int, words: str) -> str:
    """Write a number with words in which what is counted stands in the plural, such as "failed tasks retried"."""
    return f"{n} {_PLURAL.sub(_singular, words) if n == 1 else words}"


def _singular(found: re.Match[str]) -> str:
    return found[1]


_PLURAL = re.compile(r"\b(task|worker|queue|claim)s\b")


def count(n: int, noun: str) -> str:
    """Write a number with its noun, whose plural takes an s."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def escaped(value: object, *, keep: str = "") -> str:
    r"""Return a text in which whatever is not printable is written as its escape, such as `\u001b`.

    That covers control characters (C0, C1, ESC, BEL, CR), marks that reorder text (bidi), line breaks of every kind,
    and bytes of file names that are not UTF-8. `keep` holds characters to leave alone, as a rule "\n" or "\n\t".
    """

    def replace(match: re.Match[str]) -> str:
        character = match[0]
        if character in keep or character.isprintable():
            return character
        code = ord(character)
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return _UNPRINTABLE.sub(replace, str(value))


_IN_ADDRESS = re.compile(r"(://[^\s:@/'\"]*):[^\s'\"]*@")
_WITHOUT_SCHEME = re.compile(r"^([^\s:@/]+):(?!//)[^\s]*@")
_AS_OPTION = re.compile(r"(?i)\b(password|passwd|sslpassword)(\s*=\s*)('[^']*'|[^\s&'\"]+)")


def without_passwords(text: str) -> str:
    """Return a text with the passwords of all addresses and connection strings in it left out."""
    text = _WITHOUT_SCHEME.sub(r"\1:…@", _IN_ADDRESS.sub(r"\1:…@", text))
    return _AS_OPTION.sub(r"\1\2…", text)
