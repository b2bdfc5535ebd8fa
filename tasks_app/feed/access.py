"""The permission to read the feed, when a connection starts and while it lasts; tickets for browsers.

Browsers can send no header with a socket or an event stream. A ticket stands for the key or the login that it was
issued to and opens one connection within a minute. What it stands for is kept in the session table, so that it works in
every web process and only once.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.signing import BadSignature, TimestampSigner
from django.db import Error, connection
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from tasks_app.auth import client_address, rate_limiter
from tasks_app.auth.keys import BEARER, HEADER, READ, holder_of, is_local_reader, shown_key, user_may
from tasks_app.models import ApiKey
from tasks_app.postgresql import outages

NOT_LOGGED_IN, NOT_PERMITTED, TOO_MANY_REFUSALS = 4401, 4403, 4429
FORWARDING = {b"x-forwarded-for", b"forwarded", b"x-real-ip"}
"""Headers of a proxy: the other end of the connection is then not the client."""
RECHECK_SEC = 60.0
TICKET_SEC = 60
_TICKET = "feed_ticket"
_signer = TimestampSigner(salt="absurd.feed.ticket")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """The credentials of a client: a key, a key's mark, a login, or a loopback address."""

    key: str = field(default="", repr=False)
    mark: str = ""
    session_key: str = field(default="", repr=False)
    address: str | None = None
    host: str = ""

    def refusal(self) -> int | None:
        """Return the close code for a client that may not read the feed, or None."""
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
    """Return the credentials in the headers and the session of a connection."""
    headers = {name.lower(): value.decode("latin1") for name, value in scope["headers"]}
    named = {name: headers.get(name.lower().encode(), "") for name in (HEADER, BEARER)}
    return Listener(
        key=shown_key(named),
        session_key=scope["session"].session_key or "" if "session" in scope else "",
        address=None if FORWARDING & headers.keys() else (scope.get("client") or (None,))[0],
        host=headers.get(b"host", ""),
    )


async def wait_for_refusal(listener: Listener) -> int:
    """Return the close code once the listener has logged out, or the key is revoked or has expired."""
    while True:
        await asyncio.sleep(RECHECK_SEC)
        try:
            code = await refusal(listener)
        except Error as error:
            # Checked again later: the recheck must not end before the permission does.
            logger.warning("the permission to read the feed could not be checked: %s", outages.describe(error))
            await _drop_connection()
            continue
        if code is not None:
            return code


@database_sync_to_async
def _drop_connection() -> None:
    connection.close()


async def refusal(listener: Listener) -> int | None:
    """Return the close code for a client that may not read the feed, or None."""
    found: int | None = await database_sync_to_async(listener.refusal)()
    return found


def mark_of(key: str) -> str:
    """Return a text that identifies a key where the key itself must not be stored."""
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


def issue_ticket(*, key: str = "", session_key: str = "") -> str:
    """Return a new ticket for the holder of a key or of a login."""
    store = SessionStore()
    store[_TICKET] = {"mark": mark_of(key)} if key else {"session_key": session_key}
    store.set_expiry(TICKET_SEC)
    store.create()
    return _signer.sign(store.session_key or "")


def redeem_ticket(ticket: str) -> Listener | None:
    """Return the holder of a ticket, which then is used up; None for a forged, used or expired one."""
    try:
        session_key = _signer.unsign(ticket, max_age=TICKET_SEC)
    except BadSignature:
        return None
    row = Session.objects.filter(session_key=session_key).first()
    held = row.get_decoded().get(_TICKET) if row is not None else None
    if not isinstance(held, dict) or Session.objects.filter(session_key=session_key).delete()[0] != 1:
        return None
    return Listener(mark=held.get("mark", ""), session_key=held.get("session_key", ""))


async def refused_too_often(scope: Mapping[str, Any]) -> bool:
    """Count a refusal under the address of the connection; return whether it exceeds the limit of this minute."""
    return await sync_to_async(_exceeds_limit, thread_sensitive=False)(
        client_address.address_of_scope(scope) or client_address.UNIX
    )


def _exceeds_limit(address: str) -> bool:
    return rate_limiter.wait_sec("refused", address) is not None
