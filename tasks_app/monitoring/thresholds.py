"""The default thresholds of the health checks; each may be set in ABSURD_HEALTH. No Django."""

from __future__ import annotations

DEFAULTS: dict[str, float] = {
    "limit_sec": 3.0,
    "database_latency_warn_ms": 500.0,
    "database_latency_bad_ms": 1000.0,
    "depth_warn": 500.0,
    "depth_bad": 1000.0,
    "oldest_pending_warn_sec": 600.0,
    "oldest_pending_bad_sec": 3600.0,
    "progress_bad_sec": 300.0,
    "failures_warn": 2.0,
    "workers_silent_sec": 3600.0,
    "feed_lag_warn_sec": 5.0,
    "withheld_warn_sec": 10.0,
    "disk_free_warn_fraction": 0.15,
    "disk_free_bad_fraction": 0.05,
    "dead_rows_warn": 50_000.0,
    "dead_ratio_warn": 0.2,
    "transaction_warn_sec": 300.0,
    "transaction_bad_sec": 3600.0,
    "transaction_warn_xids": 1_000_000.0,
    "clock_skew_warn_sec": 2.0,
    "clock_skew_bad_sec": 60.0,
    "unfolded_warn": 50_000.0,
    "tile_late_warn_sec": 3600.0,
    "backup_warn_sec": 129_600.0,
}
