"""Passwords in addresses, taken out of what is shown. No Django here: settings use it."""

from __future__ import annotations

import re

_IN_ADDRESS = re.compile(r"(://[^\s:@/'\"]*):[^\s'\"]*@")
_WITHOUT_SCHEME = re.compile(r"^([^\s:@/]+):(?!//)[^\s]*@")
_AS_OPTION = re.compile(r"(?i)\b(password|passwd|sslpassword)(\s*=\s*)('[^']*'|[^\s&'\"]+)")


def without_passwords(text: str) -> str:
    """Return a text with the passwords of all addresses and connection strings in it left out."""
    text = _WITHOUT_SCHEME.sub(r"\1:…@", _IN_ADDRESS.sub(r"\1:…@", text))
    return _AS_OPTION.sub(r"\1\2…", text)
