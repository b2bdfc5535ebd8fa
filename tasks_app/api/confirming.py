"""Tokens that say: this was looked at before, by the same caller, and is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from tasks_app.errors import ConfirmationRefused, SelectionGrew
from tasks_app.operations import bulk

TOKEN_SEC = 600
SPARE = 2
"""This number of tasks more than were previewed is accepted."""


def token_of(salt: str, agreed: Mapping[str, Any], count: int) -> str:
    """Return the token of a preview of this number of tasks; `agreed` must be the same when carried out, as JSON."""
    return TimestampSigner(salt=salt).sign_object({**agreed, "count": count})


def check(salt: str, token: str, agreed: Mapping[str, Any], count: int) -> None:
    """Raise ConfirmationRefused for a token of anything else, SelectionGrew when there are many more tasks now."""
    try:
        said = TimestampSigner(salt=salt).unsign_object(token, max_age=TOKEN_SEC)
    except SignatureExpired:
        raise ConfirmationRefused("has expired") from None
    except (BadSignature, ValueError):
        raise ConfirmationRefused("was not issued by this server") from None
    expected = said.pop("count")
    if said != agreed:
        differing = ", ".join(sorted(name for name in agreed if said.get(name) != agreed[name]))
        raise ConfirmationRefused(f"was issued for another {differing}")
    if bulk.has_grown(expected, count, spare=SPARE):
        raise SelectionGrew(expected, count)
