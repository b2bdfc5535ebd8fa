"""Who may read, spawn and operate: API keys, their scopes, and the local reader. Shared by REST and the feed."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, cast

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import Error, transaction
from django.db.models import Q

from tasks_app.models import ApiKey
from tasks_app.models.system import SCOPES
from tasks_app.postgresql import clock

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Scope = Literal["read", "spawn", "operate", "admin"]

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
USE_INTERVAL_SEC = 60.0
"""How often at most it is stored that a key was used."""

logger = logging.getLogger(__name__)

_noted: dict[str, float] = {}
"""When this process last stored the use of each key, by its own monotonic clock."""


@dataclass(frozen=True, kw_only=True)
class KeyHolder:
    """A caller with a valid key."""

    name: str
    scopes: frozenset[str]
    prefix: str = ""
    """The public part of a key in the database, which no other key has."""
    actor: str = field(init=False)
    """How events name the caller."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "actor", f"key:{self.name}")


@dataclass(frozen=True, kw_only=True)
class Need:
    """The scope that a key must have, and the Django permission that a person must have."""

    scope: Scope
    permission: str


READ = Need(scope="read", permission="tasks_app.view_task")
SPAWN = Need(scope="spawn", permission="tasks_app.spawn_task")


HEADER = "X-API-Key"
BEARER = "Authorization"
CHALLENGE = f'ApiKey realm="absurd", header="{HEADER}", Bearer realm="absurd"'


def shown_key(headers: Mapping[str, str]) -> str:
    """Return the key in X-API-Key, else that in `Authorization: Bearer KEY`, else an empty text.

    The names of the headers are looked up as they are; other schemes of Authorization are left to proxies.
    """
    scheme, _, token = headers.get(BEARER, "").partition(" ")
    return headers.get(HEADER, "") or (token.strip() if scheme.lower() == "bearer" else "")


def holder_of(key: str) -> KeyHolder | None:
    """Return the holder of a key, or None for one that is unknown, revoked or expired."""
    configured = settings.ABSURD_API_KEY
    if configured and hmac.compare_digest(key.encode(), configured.encode()):
        return KeyHolder(name="ABSURD_API_KEY", scopes=frozenset(SCOPES))
    if "\x00" in key:
        return None
    try:
        found = cast(ApiKey, ApiKey.objects.get_from_key(key))
    except ApiKey.DoesNotExist:
        return None
    if found.has_expired or (found.owner is not None and not found.owner.is_active):
        return None
    note_use(found)
    return KeyHolder(name=found.name, scopes=frozenset(found.scopes) & frozenset(SCOPES), prefix=found.prefix)


def is_local_reader(address: str | None, host: str) -> bool:
    """Whether a caller without key or login may read: on this machine, in local mode, under a local name.

    The name is checked so that a web page elsewhere cannot have its own name resolve to this machine and read.
    `address` is the peer of the connection; a forwarded address is never trusted.
    """
    if settings.ABSURD_MODE != "local" or not address or _without_port(host).lower() not in LOCAL_HOSTS:
        return False
    try:
        found = ip_address(address)
    except ValueError:
        return False
    # What listens on IPv6 and IPv4 at once sees a caller over IPv4 under such an address.
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def user_may(user: User | AnonymousUser, permission: str) -> bool:
    """Whether a logged-in person holds a Django permission."""
    return user.is_authenticated and user.is_active and user.has_perm(permission)


def actor_of(user: User | AnonymousUser) -> str:
    """Return how events name a person who acts."""
    return f"user:{user.get_username()}"


def note_use(key: ApiKey) -> None:
    """Store that a key is used, at most once a minute; waits for no lock, and its failure stops no request."""
    moment = time.monotonic()
    if moment - _noted.get(key.pk, -USE_INTERVAL_SEC) < USE_INTERVAL_SEC:
        return
    _noted[key.pk] = moment
    long_ago = Q(last_used_at=None) | Q(last_used_at__lt=clock.DatabaseNow() - timedelta(seconds=USE_INTERVAL_SEC))
    free = ApiKey.objects.filter(long_ago, pk=key.pk).select_for_update(skip_locked=True, of=("self",))
    try:
        with transaction.atomic():
            ApiKey.objects.filter(pk__in=free.values("pk")).update(last_used_at=clock.DatabaseNow())
    except Error as error:
        logger.warning("the use of the key %s could not be recorded: %s", key.prefix, error)


def forget_uses() -> None:
    """Have the next use of each key stored again."""
    _noted.clear()
