"""Text from outside made safe to show: on a terminal, in a log line, in an error message."""

from __future__ import annotations

import re

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
