"""Text from outside made safe to show: unprintable characters escaped, passwords removed. No Django here."""

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


_IN_ADDRESS = re.compile(r"(://[^\s:@/'\"]*):[^\s'\"]*@")
_WITHOUT_SCHEME = re.compile(r"^([^\s:@/]+):(?!//)[^\s]*@")
_AS_OPTION = re.compile(r"(?i)\b(password|passwd|sslpassword)(\s*=\s*)('[^']*'|[^\s&'\"]+)")


def without_passwords(text: str) -> str:
    """Return a text with the passwords of all addresses and connection strings in it left out."""
    text = _WITHOUT_SCHEME.sub(r"\1:…@", _IN_ADDRESS.sub(r"\1:…@", text))
    return _AS_OPTION.sub(r"\1\2…", text)
