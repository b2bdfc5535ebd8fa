"""Callers who show an API key."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tasks_app.auth.keys import KeyHolder, holder_of

HEADER = "X-API-Key"


class ApiKeyAuthentication(BaseAuthentication):
    """Accepts the header X-API-Key; a key that opens nothing is refused even beside a valid login."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, KeyHolder] | None:
        key = request.headers.get(HEADER)
        if not key:
            return None
        holder = holder_of(key)
        if holder is None:
            raise AuthenticationFailed("the API key is unknown, revoked or expired", code="bad_api_key")
        return AnonymousUser(), holder

    def authenticate_header(self, request: Request) -> str:
        return f'ApiKey realm="absurd", header="{HEADER}"'
