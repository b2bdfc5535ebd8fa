"""How much is measured: enough to trust, or enough to see that all works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The extent of each measurement."""

    rounds: int = 3
    spawn_one_sec: float = 2.0
    spawn_many: int = 10_000
    spawn_many_calls: int = 2
    drain_sec: float = 2.0
    drain_pending: int = 40_000
    profile_sec: float = 3.0


FULL = Sizes()
QUICK = Sizes(
    spawn_one_sec=0.5,
    spawn_many=1_000,
    spawn_many_calls=4,
    drain_sec=0.5,
    drain_pending=10_000,
    profile_sec=1.0,
)
