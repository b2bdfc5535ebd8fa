"""Where notices are sent: by e-mail, as JSON to a webhook, and as text to Slack."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

TIMEOUT_SEC = 10.0
SLACK = "slack+"
SENDER = "absurd@{host}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One fault, as it is sent."""

    check: str
    state: str
    """`warn`, `bad`, or `over` for one that was sent and is gone."""
    message: str
    remedy: str
    first_seen_at: str


def send(address: str, lines: Sequence[Line]) -> None:
    """Send one message with all lines to an address of ABSURD_NOTIFY. Raises OSError or httpx.HTTPError."""
    if address.startswith("mailto:"):
        _send_mail(unquote(address.removeprefix("mailto:")), lines)
    elif address.startswith(SLACK):
        _post(address.removeprefix(SLACK), {"text": text_of(lines)})
    else:
        _post(address, {"source": socket.gethostname(), "faults": [asdict(each) for each in lines]})


def subject_of(lines: Sequence[Line]) -> str:
    """Return one line that says what is wrong."""
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    over = "over: " if lines[0].state == "over" else ""
    return f"[absurd] {over}{lines[0].message}"[:150] + more


def text_of(lines: Sequence[Line]) -> str:
    """Return the faults, each with what helps."""
    host = socket.gethostname()
    needs = "needs attention" if any(each.remedy for each in lines) else "is better"
    return "\n".join([f"Absurd on {host} {needs}:", *map(_text_of, lines), ""])


def _text_of(line: Line) -> str:
    remedy = f". To do: {line.remedy}" if line.remedy else ""
    return f"* {line.state}: {line.check}: {line.message}{remedy}"


def _send_mail(recipient: str, lines: Sequence[Line]) -> None:
    server = urlsplit(settings.ABSURD_SMTP_URL)
    connection = get_connection(
        "django.core.mail.backends.smtp.EmailBackend",
        host=server.hostname or "localhost",
        port=server.port or {"smtps": 465}.get(server.scheme, 25),
        username=unquote(server.username or ""),
        password=unquote(server.password or ""),
        use_ssl=server.scheme == "smtps",
        use_tls=server.scheme == "smtp+starttls",
        timeout=TIMEOUT_SEC,
    )
    sender = SENDER.format(host=socket.gethostname())
    EmailMessage(subject_of(lines), text_of(lines), sender, [recipient], connection=connection).send()


def _post(url: str, body: dict[str, Any]) -> None:
    httpx.post(url, json=body, timeout=TIMEOUT_SEC).raise_for_status()
