"""Files of attempts on other hosts: whether a host serves them, and where; see `workers.file_server`."""

from __future__ import annotations

import platform
import random
from pathlib import Path

from django.conf import settings
from django.core.cache import cache

from tasks_app.files.bounded_calls import in_time
from tasks_app.files.remote import NotFetched, RemoteFile
from tasks_app.models import Worker

SERVING_SEC = 5
"""How long it is remembered which hosts serve files."""


def open_file(host: str, path: str) -> RemoteFile:
    """Open a file of another host. Raises NotFetched, whose text says why it cannot be had, and FilesBusy."""
    address = _address_of(host)
    place = Path(f"//{host}{path}")
    try:
        return in_time(place, lambda: RemoteFile(host=host, address=address, path=path, key=settings.ABSURD_FILES_KEY))
    except NotFetched as error:
        raise NotFetched(f"it is on host {host}, and {error}") from None


def serves_files(host: str) -> bool:
    """Return whether files can be asked for on a host, as it was a few seconds ago."""
    if host in ("", platform.node()) or not settings.ABSURD_FILES_KEY:
        return False
    known: list[str] | None = cache.get("hosts-that-serve-files")
    if known is None:
        known = list(Worker.objects.live().exclude(files_address="").values_list("host", flat=True).distinct())
        cache.set("hosts-that-serve-files", known, SERVING_SEC)
    return host in known


def _address_of(host: str) -> str:
    """Return where a live worker of the host serves its files. Raises NotFetched."""
    if host in ("", platform.node()):
        raise NotFetched("it is not on this host")
    there = f"it is on host {host}"
    if not settings.ABSURD_FILES_KEY:
        raise NotFetched(f"{there}, and cannot be fetched: ABSURD_FILES_KEY is not set here")
    live = list(Worker.objects.live().filter(host=host).values_list("files_address", flat=True))
    if not live:
        raise NotFetched(f"{there}, and no worker reports from there now")
    addresses = [address for address in live if address]
    if not addresses:
        raise NotFetched(f"{there}, whose workers serve no files: set ABSURD_FILES_BIND there")
    chosen: str = random.choice(addresses)  # noqa: S311 - any will do
    return chosen
