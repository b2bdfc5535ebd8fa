"""Answers that come in parts wait for clients that are slow to take them."""

from __future__ import annotations

from typing import Any

from tasks_app.feed.connection import Connection, Stalled


class Patient:
    """Holds back the next part of an answer until most of the last has been taken.

    Without it the web server would hold in memory whatever a client has asked for and does not read.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        connection = Connection(send)

        async def send_and_wait(message: Any) -> None:
            await send(message)
            if message.get("more_body"):
                await connection.ready()

        try:
            await self._application(scope, receive, send_and_wait)
        except Stalled:
            connection.abort()
