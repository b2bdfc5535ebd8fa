"""The real web process for tests, on a port of its own and the test's database."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
START_SEC = 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    environment: Mapping[str, str], *, port: int | None = None, options: Sequence[str] = ("-v", "0")
) -> Iterator[int]:
    """Yield the port on which daphne serves, and stop it afterwards."""
    port = port or free_port()
    command = ["-m", "daphne", *options, "-b", "127.0.0.1", "-p", str(port), "absurd_project.asgi:application"]
    log = Path(environment["ABSURD_VAR"]) / "web.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=CHECKOUT, env=dict(environment), stdout=output, stderr=output
        )
    try:
        _wait_until_it_answers(port, process, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SEC
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/absurd/health", timeout=60).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"daphne did not answer:\n{log.read_text()[-3000:]}")
