"""Peers as seen from the benchmark: their orders, their workers, their figures."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from absurd_project.benchmark.scratch import Scratch, channel_prefix
from absurd_project.local.locations import CHECKOUT
from tests.benchmark.peers import peer_program
from workers.gameday.processes import last_line

CLEARING_SEC = 15.0


class PeerMissing(Exception):
    """The interpreter has not got the peer, or it does not work here."""


@dataclass(kw_only=True)
class Peer:
    """One peer that takes orders."""

    name: str
    version: str
    many: int
    process: subprocess.Popen[str]
    python: str
    environment: dict[str, str]
    pickups: Path
    log: Path

    def order(self, do: str, **order: Any) -> dict[str, Any]:
        """Have an order carried out.

        Raises PeerMissing when the peer has ended over it.
        """
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
        return _read(self.process, self.log)

    def worker_argv(self, concurrency: int) -> list[str]:
        """Return what starts one of its workers."""
        return [self.python, "-m", _module(self.name), "worker", str(concurrency)]


@contextlib.contextmanager
def peer(name: str, python: str, scratch: Scratch) -> Iterator[Peer]:
    """Start a peer that takes orders, and clear away what it made in Redis when the block ends.

    Raises PeerMissing.
    """
    pickups = scratch.directory / f"pickups-{name}"
    environment = {
        variable: value for variable, value in scratch.environment.items() if variable != "DJANGO_SETTINGS_MODULE"
    } | {
        peer_program.DATABASE_URL: scratch.url,
        peer_program.REDIS_URL: settings.ABSURD_REDIS_URL,
        peer_program.PREFIX: f"{channel_prefix()}:{name}:",
        peer_program.PICKUPS: str(pickups),
    }
    with (scratch.directory / f"{name}.log").open("w+") as log:
        process = subprocess.Popen(
            [python, "-m", _module(name)],
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            greeting = _read(process, Path(log.name))
            yield Peer(
                name=name, version=greeting["version"], many=greeting["many"], process=process, python=python,
                environment=environment, pickups=pickups, log=Path(log.name),
            )  # fmt: skip
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Let the peer clear away what it made, which it does when its orders end."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(CLEARING_SEC)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _module(name: str) -> str:
    return f"tests.benchmark.peers.{name}"


def _read(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        last = last_line(log)
        raise PeerMissing(f"{last}: pip install absurd-dsa110[bench]" if "ModuleNotFoundError" in last else last)
    answer: dict[str, Any] = json.loads(line)
    return answer


def read_pickups(peer: Peer, wanted: int, timeout_sec: float) -> list[float]:
    """Return the delays that the peer's tasks have noted, waiting a little for the last of them."""
    deadline = time.monotonic() + timeout_sec
    while True:
        found = [float(line) for line in peer.pickups.read_text().split()] if peer.pickups.exists() else []
        if len(found) >= wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
