"""Short-lived tickets to the feed, for browsers, which can send no header with a socket or an event stream.

A ticket stands for the key or the login that it was issued to, opens one connection within a minute, and nothing else.
What it stands for is kept in the session table, so that it works in every web process and only once.
"""

from __future__ import annotations

from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.signing import BadSignature, TimestampSigner

from tasks_app.feed.access import Listener, mark_of

LIFE_SEC = 60
_HELD = "feed_ticket"
_signer = TimestampSigner(salt="absurd.feed.ticket")


def issue(*, key: str = "", session_key: str = "") -> str:
    """Return a new ticket for the holder of a key or of a login."""
    store = SessionStore()
    store[_HELD] = {"mark": mark_of(key)} if key else {"session_key": session_key}
    store.set_expiry(LIFE_SEC)
    store.create()
    return _signer.sign(store.session_key or "")


def redeem(ticket: str) -> Listener | None:
    """Return whom a ticket stands for, and make it worthless; None when it is forged, used or too old."""
    try:
        session_key = _signer.unsign(ticket, max_age=LIFE_SEC)
    except BadSignature:
        return None
    row = Session.objects.filter(session_key=session_key).first()
    held = row.get_decoded().get(_HELD) if row is not None else None
    if not isinstance(held, dict) or Session.objects.filter(session_key=session_key).delete()[0] != 1:
        return None
    return Listener(mark=held.get("mark", ""), session_key=held.get("session_key", ""))
