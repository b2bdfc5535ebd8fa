"""Sockets that are refused count as requests that are: an address that tries again and again is told to wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async

from tasks_app.auth import client_address, rate_limiter

TOO_OFTEN = 4429


async def refused_too_often(scope: Mapping[str, Any]) -> bool:
    """Count a refusal of whoever opens the connection; return whether it is one too many in this minute."""
    return await sync_to_async(_is_one_too_many, thread_sensitive=False)(
        client_address.address_of_scope(scope) or client_address.UNIX
    )


def _is_one_too_many(address: str) -> bool:
    return rate_limiter.wait_sec("refused", address) is not None
