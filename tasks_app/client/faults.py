"""The errors of the client, the same through a server and through a database.

Refusals of the queue are those of `tasks_app.errors`; here are those of the client. Each has a `remedy`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks_app import errors
from tasks_app.errors import AbsurdError


class Unavailable(AbsurdError):
    """There is no answer. Calls that may be repeated have been."""

    code = "unavailable"
    remedy = "check that it runs and that the address is right, and try again"
    never_sent = False
    """Whether the request certainly had no effect."""
    retry_after_sec: float | None = None


class TooManyRequests(Unavailable):
    """The caller has sent too many requests."""

    code = "throttled"
    remedy = "send fewer requests; subscribe to the feed instead of polling"
    never_sent = True


class WaitTimedOut(AbsurdError, TimeoutError):
    """The task has not finished within the time that was given; it continues."""

    code = "wait_timed_out"
    remedy = "wait again, or call explain() to see what it waits for"


class NotAuthenticated(AbsurdError):
    """The server does not know the caller."""

    code = "not_authenticated"
    remedy = "give api_key=…, or set ABSURD_API_KEY"


class NotPermitted(AbsurdError):
    """The key lacks a scope."""

    code = "permission_denied"
    remedy = "ask an administrator for the scope named in the message"


class RequestRefused(AbsurdError):
    """The request was understood and refused for another reason; `code` names it."""

    code = "refused"


class ServerFault(AbsurdError):
    """The server failed, or is not an Absurd server."""

    code = "server_fault"
    remedy = "report it to the administrator of the server; its log has the cause"


class DatabaseNotReady(AbsurdError):
    """This version cannot use the database."""

    code = "database_not_ready"

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class NotConnected(AbsurdError):
    """The client has not been connected, or was closed."""

    code = "not_connected"
    remedy = "await client.connect() first, or write: async with AbsurdClient(…) as client"


class WrongAddress(AbsurdError, ValueError):
    """The address is neither a server's nor a database's."""

    code = "wrong_address"
    remedy = "write http://host:8000, or postgresql://user:password@host:5432/absurd"


_KINDS_OF_CODES: dict[str, type[AbsurdError]] = {
    "bad_api_key": NotAuthenticated,
    "bad_query": errors.ParamsInvalid,
    "throttled": TooManyRequests,
}


def _all_kinds(kind: type[AbsurdError]) -> Iterator[type[AbsurdError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _all_kinds(each)


def from_problem(status: int, problem: Mapping[str, Any]) -> AbsurdError:
    """Return the error that a problem document describes, as if it had been raised here."""
    code = str(problem.get("code") or "")
    kinds = {each.code: each for each in _all_kinds(AbsurdError)} | _KINDS_OF_CODES
    kind = kinds.get(code) or _kind_of_status(status)
    fault: AbsurdError = kind.__new__(kind)
    Exception.__init__(fault, str(problem.get("detail") or problem.get("title") or f"HTTP status {status}"))
    if code:
        fault.code = code
    if problem.get("remedy"):
        fault.remedy = str(problem["remedy"])
    if isinstance(fault, errors.ParamsInvalid):
        fault.problems = list(problem.get("errors") or ())
    if isinstance(fault, errors.InvalidTransition):
        fault.current, fault.hint = str(problem.get("current_status") or ""), ""
    return fault


def _kind_of_status(status: int) -> type[AbsurdError]:
    if status in (502, 503, 504):
        return Unavailable
    if status == 429:
        return TooManyRequests
    if status >= 500 or status < 400:
        return ServerFault
    return {401: NotAuthenticated, 403: NotPermitted}.get(status, RequestRefused)
