"""How a client is set up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from tasks_app.client.faults import WrongAddress
from tasks_app.plain_text import without_passwords

SERVER_SCHEMES = ("http", "https")
DATABASE_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, kw_only=True)
class AbsurdConfig:
    """The address and the habits of a client."""

    url: str
    """A server, as in http://host:8000, or a database, as in postgresql://user:password@host:5432/absurd."""
    queue_name: str | None = None
    """Where tasks go that name no queue, and whose figures are meant; None: the server's own default."""
    api_key: str = ""
    timeout_sec: float = 10.0
    """For one answer."""
    retries: int = 4
    """How often a call is repeated that may be repeated, when nobody answers."""

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise WrongAddress(f"{without_password(self.url)!r} is not the address of a server or a database")

    @classmethod
    def from_env(cls) -> AbsurdConfig:
        """Read ABSURD_DATABASE_URL, ABSURD_QUEUE_NAME and ABSURD_API_KEY. Raises WrongAddress."""
        return cls(
            url=os.environ.get("ABSURD_DATABASE_URL", ""),
            queue_name=os.environ.get("ABSURD_QUEUE_NAME") or None,
            api_key=os.environ.get("ABSURD_API_KEY", ""),
        )

    @property
    def is_server(self) -> bool:
        """Whether the address is a server's."""
        return urlsplit(self.url).scheme in SERVER_SCHEMES


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in (*SERVER_SCHEMES, *DATABASE_SCHEMES) and bool(parts.netloc)


def without_password(url: str) -> str:
    """Return an address that may be shown."""
    return without_passwords(url)
