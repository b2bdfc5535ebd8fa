"""What was agreed to after a dry run: about as many tasks as were shown and, with a token, the same request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from tasks_app.errors import ConfirmationRefused, SelectionChanged

SALT = "tasks_app.operations"
TOKEN_SEC = 600
GROWTH_MOST = 1.1
SPARE_TASKS = 2


@dataclass(frozen=True, kw_only=True)
class SelectionGuard:
    """How many tasks somebody was shown; a tenth more, or `spare` more, may be changed without another dry run."""

    shown: int
    spare: int = 0

    def allows(self, count: int) -> bool:
        """Return whether so few more match now that the agreement holds."""
        return count <= max(self.shown * GROWTH_MOST, self.shown + self.spare)

    def check(self, count: int) -> None:
        """Raise SelectionChanged when too many more match now."""
        if not self.allows(count):
            raise SelectionChanged(self.shown, count)


def token_of(request: Mapping[str, Any], count: int) -> str:
    """Return the token of a dry run that showed that many tasks; `request` must be the same when it is used."""
    return TimestampSigner(salt=SALT).sign_object({**request, "count": count})


def check_token(token: str, request: Mapping[str, Any], count: int) -> None:
    """Raise ConfirmationRefused for the token of another request, SelectionChanged when many more tasks match now."""
    try:
        signed = TimestampSigner(salt=SALT).unsign_object(token, max_age=TOKEN_SEC)
    except SignatureExpired:
        raise ConfirmationRefused("has expired") from None
    except (BadSignature, ValueError):
        raise ConfirmationRefused("was not issued by this server") from None
    shown = signed.pop("count")
    if signed != request:
        names = sorted(name for name in {*signed, *request} if signed.get(name) != request.get(name))
        raise ConfirmationRefused(f"was issued for another {', '.join(names)}")
    SelectionGuard(shown=shown, spare=SPARE_TASKS).check(count)
