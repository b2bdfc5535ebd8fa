"""Who may listen, at the beginning and for as long as they do."""

from __future__ import annotations

import asyncio
import hmac
import logging
from dataclasses import dataclass, field
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.db import SessionStore
from django.db import Error, connection
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from tasks_app.auth.keys import holder_of, is_local_reader, user_may
from tasks_app.auth.requirements import READ
from tasks_app.models import ApiKey
from tasks_app.postgresql import outages

NOT_LOGGED_IN, NOT_PERMITTED = 4401, 4403
FORWARDING = {b"x-forwarded-for", b"forwarded", b"x-real-ip"}
"""Headers of whoever passes a connection on, whose other end is then not the client."""
RECHECK_SEC = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """How a client has shown who it is: by a key, a key's mark, a login, or by being on this machine."""

    key: str = field(default="", repr=False)
    mark: str = ""
    session_key: str = field(default="", repr=False)
    address: str | None = None
    host: str = ""

    def refusal(self) -> int | None:
        """Return the close code for one who may not listen, or None for one who may."""
        if self.key:
            holder = holder_of(self.key)
            return _verdict(None if holder is None else READ.scope in holder.scopes)
        if self.mark:
            return _verdict(_mark_may_read(self.mark))
        if self.session_key:
            request = HttpRequest()
            request.session = SessionStore(self.session_key)
            user = auth.get_user(request)
            if user.is_authenticated:
                return _verdict(user_may(user, READ.permission))
        return None if is_local_reader(self.address, self.host) else NOT_LOGGED_IN


def listener_of(scope: Any) -> Listener:
    """Return who is calling, by the headers and the session of a connection."""
    headers = {name.lower(): value.decode("latin1") for name, value in scope["headers"]}
    return Listener(
        key=headers.get(b"x-api-key", ""),
        session_key=scope["session"].session_key or "" if "session" in scope else "",
        address=None if FORWARDING & headers.keys() else (scope.get("client") or (None,))[0],
        host=headers.get(b"host", ""),
    )


async def refused(listener: Listener) -> int:
    """Return, with the close code, once the listener has logged out, or the key is revoked or has expired."""
    while True:
        await asyncio.sleep(RECHECK_SEC)
        try:
            code = await refusal(listener)
        except Error as error:
            # What cannot be asked now is asked again: the recheck must not end before the listener's right does.
            logger.warning("the right to listen could not be checked: %s", outages.describe(error))
            await _drop_connection()
            continue
        if code is not None:
            return code


@database_sync_to_async
def _drop_connection() -> None:
    connection.close()


async def refusal(listener: Listener) -> int | None:
    """Return the close code for one who may not listen, or None for one who may."""
    found: int | None = await database_sync_to_async(listener.refusal)()
    return found


def mark_of(key: str) -> str:
    """Return what stands for a key where the key itself must not be kept."""
    if settings.ABSURD_API_KEY and hmac.compare_digest(key.encode(), settings.ABSURD_API_KEY.encode()):
        return _mark_of_configured()
    return f"key:{key.partition('.')[0]}"


def _mark_of_configured() -> str:
    return f"configured:{salted_hmac('absurd.feed', settings.ABSURD_API_KEY).hexdigest()}"


def _mark_may_read(mark: str) -> bool | None:
    """Return whether the key behind a mark may read; None when there is no such key any more."""
    if settings.ABSURD_API_KEY and mark == _mark_of_configured():
        return True
    prefix = mark.removeprefix("key:")
    found = ApiKey.objects.get_usable_keys().filter(prefix=prefix).select_related("owner").first()
    if found is None or found.has_expired or (found.owner is not None and not found.owner.is_active):
        return None
    return READ.scope in found.scopes


def _verdict(may: bool | None) -> int | None:
    if may is None:
        return NOT_LOGGED_IN
    return None if may else NOT_PERMITTED
