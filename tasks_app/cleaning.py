"""Text and JSON that come from handlers, files, exceptions and queries, made fit to be stored, sent and shown.

PostgreSQL stores no NUL, UTF-8 has no lone surrogates, JSON has no NaN, Python reads no integer of more than 4,300
digits, and an exception may have no text at all. Only `json_value` raises, for what a handler's result must not
contain. No Django: the child uses it.
"""

from __future__ import annotations

import json
import math
import re
import traceback
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

MESSAGE_CHARS_MOST = 10_000
TRACEBACK_CHARS_MOST = 100_000
NAME_CHARS_MOST = 200
DEPTH_MOST = 100
INTEGER_BITS_MOST = 14_000
"""Python turns integers of up to 4,300 digits into text and back, which are 14,284 bits."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UNSTORABLE_IN_JSON = re.compile(r"\\u0000|\\ud[89a-f]")


class Unstorable(Exception):
    """A result holds something that JSON has no word for."""


def text(value: object, chars_most: int = MESSAGE_CHARS_MOST) -> str:
    """Return the text of a value; of one that is too long its beginning and its end."""
    try:
        found = str(value)
    except BaseException as error:
        found = f"<{type(value).__name__} without a text: str() raised {type(error).__name__}>"
    return bounded(_UNSTORABLE.sub(_escape, found), chars_most)


def bounded(found: str, chars_most: int) -> str:
    """Return a text, or its beginning and its end with a note of how much was left out between them."""
    if len(found) <= chars_most:
        return found
    note = f" [… {len(found) - chars_most} characters left out …] "
    kept = max(0, chars_most - len(note))
    head = (kept + 1) // 2
    return f"{found[:head]}{note}{found[len(found) - (kept - head) :]}"[:chars_most]


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0:
        return "\N{REPLACEMENT CHARACTER}"
    # What os.fsdecode makes of a byte that is not UTF-8 is shown as that byte.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def words(error: BaseException) -> str:
    """Return an exception's class and text."""
    name, message = text(type(error).__name__, NAME_CHARS_MOST), text(error)
    return f"{name}: {message}" if message else name


def traceback_of(error: BaseException) -> str:
    """Return an exception's traceback; of a long one the beginning and the end."""
    try:
        lines = "".join(traceback.format_exception(error))
    except BaseException as fault:
        lines = f"{words(error)}\n(no traceback: {type(fault).__name__})\n"
    return text(lines, TRACEBACK_CHARS_MOST)


def json_value(value: object, where: str, depth: int = 0) -> Any:
    """Return the value in JSON's own types, its texts cleaned.

    Raises Unstorable, naming the place, for NaN, integers that nobody could read, foreign types, and what is nested too
    deeply or in itself.
    """
    if depth > DEPTH_MOST:
        raise Unstorable(f"{bounded(where, 300)} is nested more than {DEPTH_MOST} deep")
    if isinstance(value, BaseModel):
        return json_value(_dumped(value), where, depth)
    if isinstance(value, Mapping):
        return _json_object(value, where, depth)
    if isinstance(value, list | tuple):
        return [json_value(part, f"{where}[{index}]", depth + 1) for index, part in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _UNSTORABLE.sub(_escape, value)
    if isinstance(value, int):
        if value.bit_length() > INTEGER_BITS_MOST:
            raise Unstorable(f"{where} is an integer of some {_digits(value)} digits: write it as text")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unstorable(f"{where} is {value}: write None where there is no number")
        return float(value)
    raise Unstorable(f"{where} is a {type(value).__name__}, which JSON cannot hold")


def _dumped(value: BaseModel) -> Any:
    try:
        return value.model_dump(mode="json")
    except ValueError:  # a text that is not UTF-8
        return value.model_dump()


def _json_object(value: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in value.items():
        key = text(name, MESSAGE_CHARS_MOST)
        if key in found:
            raise Unstorable(f"{where} has two keys that are written {bounded(key, NAME_CHARS_MOST)!r}")
        found[key] = json_value(part, f"{where}.{bounded(key, NAME_CHARS_MOST)}", depth + 1)
    return found


def _digits(value: int) -> int:
    return int(value.bit_length() * math.log10(2)) + 1


def dumps(value: Any) -> str:
    """Return JSON that PostgreSQL stores and Python reads again, whatever the value holds."""
    try:
        found = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return json.dumps(_storable(value))
    return json.dumps(_storable(value)) if _UNSTORABLE_IN_JSON.search(found) else found


def _storable(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int) and value.bit_length() <= INTEGER_BITS_MOST:
        return int(value)
    if isinstance(value, int):
        return f"an integer of some {_digits(value)} digits"
    if depth > DEPTH_MOST:
        return "… nested too deeply …"
    if isinstance(value, Mapping):
        return {text(name): _storable(part, depth + 1) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(part, depth + 1) for part in value]
    return _UNSTORABLE.sub(_escape, value) if isinstance(value, str) else text(value)


def loads(found: str) -> Any:
    """Read JSON as PostgreSQL has it; an integer that Python would not read becomes a float."""
    try:
        return json.loads(found)
    except ValueError:
        return json.loads(found, parse_int=_bounded_integer)


def _bounded_integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 4300 else float(digits)
