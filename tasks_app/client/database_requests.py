"""Requests of the API answered by its own views in this process, and the feed's messages read from the table of events.

No middleware, throttle or key stands before the views: access to the database gives every right.
"""

from __future__ import annotations

import getpass
import io
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.handlers.wsgi import WSGIRequest
from django.db import transaction
from django.urls import resolve
from rest_framework.exceptions import APIException

from tasks_app.api.errors import BadQuery
from tasks_app.auth.keys import KeyHolder
from tasks_app.client.faults import RequestRefused
from tasks_app.client.transport import API_ROOT, Choice, Document, Request, renumbered
from tasks_app.engine.events import readable_limit
from tasks_app.errors import ParamsInvalid
from tasks_app.feed.messages import Message, Selection, queue_stats_update, resync, selected
from tasks_app.feed.reader import read_after
from tasks_app.models.system import SCOPES


class DatabaseUser(KeyHolder):
    """The program that has the database, with all scopes."""

    def __post_init__(self) -> None:
        """Name the user of the program in events."""
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            name = "unknown"
        object.__setattr__(self, "actor", f"client:{name}@{socket.gethostname()}")


USER = DatabaseUser(name="database", scopes=frozenset(SCOPES))


def answer(request: Request) -> Any:
    """Return the document that the API answers with. Raises what its views raise, in the client's names."""
    path, _, query = request.path.partition("?")
    django_request: Any = WSGIRequest(_environment(request, f"{API_ROOT}/{path}", query))
    django_request._force_auth_user, django_request._force_auth_token = AnonymousUser(), USER
    view, _, arguments = resolve(django_request.path_info)
    call = view.cls.as_view(get_exception_handler=lambda: _raise, throttle_classes=[])
    try:
        response = call(django_request, **arguments)
    except BadQuery as error:
        raise ParamsInvalid(error.problems) from None
    except APIException as error:
        raise RequestRefused(str(error.detail)) from None
    return json.loads(response.render().content or b"{}")


def answer_batches(requests: Sequence[Request]) -> list[Any]:
    """Answer requests that spawn in one transaction: where one is refused, none takes effect."""
    answers = []
    with transaction.atomic():
        for number, request in enumerate(requests):
            try:
                answers.append(answer(request))
            except ParamsInvalid as fault:
                raise renumbered(fault, requests[:number]) from None
    return answers


def position_now() -> int:
    """Return the event up to which everything may be read."""
    return readable_limit()[0]


def messages_after(position: int, choice: Choice) -> tuple[list[Document], int, bool]:
    """Return the messages after a position, the position after them, and whether there are more at once."""
    batch = read_after(position)
    if batch.restarted:
        return [_parsed(resync(batch.position))], batch.position, False
    selection = Selection(
        queues=frozenset(choice.queues),
        task_ids=frozenset(map(UUID, choice.task_ids)),
        runs=frozenset(map(UUID, choice.runs)),
    )
    found, changed = selected(selection, batch.events)
    messages = [*(each.message for each in found), *map(queue_stats_update, changed)]
    return [_parsed(message) for message in messages if message is not None], batch.position, batch.more


def _parsed(message: Message) -> Document:
    found: Document = json.loads(message.text)
    return found


def _raise(error: Exception, _context: Mapping[str, Any]) -> NoReturn:
    raise error


def _environment(request: Request, path: str, query: str) -> dict[str, Any]:
    content = request.content()
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
    return {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(content)),
        "wsgi.input": io.BytesIO(content),
        "wsgi.url_scheme": "http",
        **headers,
    }
