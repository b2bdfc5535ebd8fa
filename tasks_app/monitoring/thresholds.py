"""The default thresholds of the health checks; each may be set in ABSURD_HEALTH. No Django."""

from __future__ import annotations

THRESHOLDS: dict[str, tuple[float, str]] = {
    "limit_sec": (3.0, "seconds after which a hanging check is abandoned; the answer comes no later"),
    "database_latency_warn_ms": (500.0, "milliseconds that a query takes"),
    "database_latency_bad_ms": (1000.0, "the same, for unhealthy"),
    "depth_warn": (
        500.0,
        "tasks that are claimed or could be; those that wait for a time, a task or a limit do not count",
    ),
    "depth_bad": (1000.0, "the same, for unhealthy"),
    "oldest_pending_warn_sec": (600.0, "seconds that the oldest claimable task has waited"),
    "oldest_pending_bad_sec": (3600.0, "the same, for unhealthy"),
    "progress_bad_sec": (
        300.0,
        "seconds in which live workers claimed and finished nothing although tasks are claimable",
    ),
    "failures_warn": (2.0, "tasks that failed within the last hour"),
    "workers_silent_sec": (
        3600.0,
        "seconds after which `absurd_monitor` no longer counts a worker that has stopped reporting",
    ),
    "feed_lag_warn_sec": (5.0, "age of an event that the live feed has not sent"),
    "withheld_warn_sec": (10.0, "seconds that events wait for an open transaction"),
    "disk_free_warn_fraction": (
        0.15,
        "free share, in bytes or files, of each disk under the data roots and the state directory",
    ),
    "disk_free_bad_fraction": (0.05, "the same, for unhealthy"),
    "dead_rows_warn": (50_000.0, "dead rows of a table, when their share is also above `dead_ratio_warn`"),
    "dead_ratio_warn": (0.2, "share of dead rows of a table"),
    "transaction_warn_sec": (300.0, "age of a transaction that delays vacuum"),
    "transaction_bad_sec": (3600.0, "the same, for unhealthy"),
    "transaction_warn_xids": (1_000_000.0, "transactions started since, for replication slots, which have no age"),
    "clock_skew_warn_sec": (2.0, "seconds between this host's clock and the database's"),
    "clock_skew_bad_sec": (60.0, "the same, for unhealthy"),
    "unfolded_warn": (50_000.0, "count changes that are not folded yet"),
    "tile_late_warn_sec": (3600.0, "seconds after the last file of an observation by which its run should be done"),
    "backup_warn_sec": (129_600.0, "age of the newest backup, where there was one or one is scheduled"),
}
"""The default and the meaning of each."""
DEFAULTS = {name: value for name, (value, _) in THRESHOLDS.items()}
