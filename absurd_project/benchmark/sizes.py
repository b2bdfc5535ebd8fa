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
    pickups: int = 250
    feed_events: int = 300
    fanout_clients: int = 100
    fanout_events: int = 600
    flood_clients: int = 200
    flood_events: int = 2_000
    finished: int = 1_000_000
    pending: int = 100_000
    claims: int = 2_000
    stats_calls: int = 5
    page_loads: int = 20
    churn_sec: int = 60
    worker_tasks: int = 20_000
    worker_sec: float = 8.0
    peer_share: float = 1.0
    peer_pickups: int = 100
    stage_runs: int = 5
    api_load_sec: float = 30.0


FULL = Sizes()
QUICK = Sizes(
    spawn_one_sec=0.5,
    spawn_many=1_000,
    spawn_many_calls=4,
    drain_sec=0.5,
    drain_pending=10_000,
    profile_sec=1.0,
    pickups=50,
    feed_events=50,
    fanout_events=100,
    flood_clients=50,
    flood_events=500,
    finished=50_000,
    pending=5_000,
    claims=400,
    stats_calls=2,
    page_loads=5,
    churn_sec=6,
    worker_tasks=4_000,
    worker_sec=4.0,
    peer_share=0.3,
    peer_pickups=20,
    stage_runs=2,
    api_load_sec=3.0,
)
