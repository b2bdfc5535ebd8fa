"""The feed over HTTP: as server-sent events, tickets to it, and the schema of its messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.access import ScopedAccess
from tasks_app.api.errors import BadQuery
from tasks_app.auth import client_address
from tasks_app.auth.keys import CHALLENGE, READ, KeyHolder, shown_key
from tasks_app.feed import messages
from tasks_app.feed.access import TICKET_SEC, Listener, issue_ticket, redeem_ticket
from tasks_app.feed.messages import MESSAGE_TYPES
from tasks_app.feed.streams import GRANT, OPENING, Grant
from tasks_app.feed.subscription import FeedQuery, read_query, since_of

SCHEMA = Path(messages.__file__).with_name("schema.json")
MEDIA_TYPE = "text/event-stream"


class TicketAuthentication(BaseAuthentication):
    """Accepts `?ticket=`; an invalid one is refused even beside a valid login."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Listener] | None:
        ticket = request.query_params.get("ticket")
        if ticket is None:
            return None
        listener = redeem_ticket(ticket)
        if listener is None or listener.refusal() is not None:
            raise AuthenticationFailed("the ticket is unknown, used or expired; request a new one", code="bad_ticket")
        return AnonymousUser(), listener

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class MayListen(ScopedAccess):
    """Requires the permission to read; a ticket was checked when it was redeemed."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, Listener) or super().has_permission(request, view)


class EventStreamRenderer(JSONRenderer):
    """Lets a client that accepts nothing but event streams pass; errors are JSON all the same."""

    media_type = MEDIA_TYPE
    format = "stream"


class FeedView(APIView):
    """The feed as server-sent events: the messages of /ws/status, each with its event's number as `id`."""

    authentication_classes = [TicketAuthentication, *APIView.authentication_classes]
    permission_classes = [MayListen]
    renderer_classes = [EventStreamRenderer, JSONRenderer]

    @extend_schema(
        operation_id="feed",
        parameters=[
            OpenApiParameter("since", int, description="Send events after this event_id."),
            OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER, description="The same, sent by browsers."),
            OpenApiParameter("queue", str, many=True, description="Only messages about these queues."),
            OpenApiParameter("task_id", OpenApiTypes.UUID, many=True, description="Only messages about these tasks."),
            OpenApiParameter("run", OpenApiTypes.UUID, many=True, description="Only messages about these runs."),
            OpenApiParameter(
                "types", str, enum=sorted(MESSAGE_TYPES), many=True, description="Only messages of these types."
            ),
            OpenApiParameter("log", OpenApiTypes.UUID, many=True, description="Also these tasks' logs, at most five."),
        ],
        responses={(200, MEDIA_TYPE): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponse:
        query = _query_of(request)
        scope = getattr(request._request, "scope", None)
        if scope is not None:
            scope[GRANT] = Grant(query=query, listener=_listener_of(request))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return HttpResponse(OPENING, content_type=MEDIA_TYPE, headers=headers)


class TicketSerializer(serializers.Serializer[Any]):
    """A ticket to the feed."""

    ticket = serializers.CharField()
    expires_in_sec = serializers.IntegerField()


class FeedTicketView(APIView):
    """A ticket that opens one socket or event stream within a minute, for the caller's key or login."""

    needs = {"POST": READ}

    @extend_schema(operation_id="feed_ticket", request=None, responses={201: TicketSerializer})
    def post(self, request: Request) -> Response:
        if isinstance(request.auth, KeyHolder):
            ticket = issue_ticket(key=shown_key(request.headers))
        else:
            ticket = issue_ticket(session_key=request.session.session_key or "")
        body = {"ticket": ticket, "expires_in_sec": TICKET_SEC}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class FeedSchemaView(APIView):
    """The JSON Schema (2020-12) of every message of the feed."""

    @extend_schema(operation_id="feed_schema", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        return Response(message_schema())


@cache
def message_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of the feed's messages."""
    schema: Mapping[str, Any] = json.loads(SCHEMA.read_text())
    return schema


def _query_of(request: Request) -> FeedQuery:
    try:
        query = read_query(request.META.get("QUERY_STRING", "").encode("latin1", "replace"))
        last = request.headers.get("Last-Event-ID")
        if not last:
            return query
        return FeedQuery(since=since_of(last), selection=query.selection, logs=query.logs)
    except ValueError as error:
        raise BadQuery([{"path": str(error).partition(" ")[0], "message": str(error)}]) from None


def _listener_of(request: Request) -> Listener:
    if isinstance(request.auth, Listener):
        return request.auth
    return Listener(
        key=shown_key(request.headers),
        session_key=request.session.session_key or "",
        address=None if client_address.is_forwarded(request.META) else request.META.get("REMOTE_ADDR"),
        host=request.META.get("HTTP_HOST", ""),
    )
