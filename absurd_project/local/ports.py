"""Is the web port free?"""

from __future__ import annotations

import socket


class PortBusy(Exception):
    """Some other program listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use by another program: stop it, or choose another with ABSURD_PORT")


def check_port(port: int) -> None:
    """Raise PortBusy if the web server could not listen on the port."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            line.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortBusy(port) from error


def is_open(port: int) -> bool:
    """Return whether something listens on the port."""
    with socket.socket() as line:
        line.settimeout(1.0)
        return line.connect_ex(("127.0.0.1", port)) == 0
