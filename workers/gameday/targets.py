"""What is promised after a fault. Pure."""

from __future__ import annotations

RECOVERY_BEYOND_LEASE_SEC = 2.0
"""Tasks of a dead worker are returned to the queue so long after a lease, counted from its last renewal."""
STOP_BEYOND_GRACE_SEC = 2.0
"""A cancelled attempt has freed its slot so long after the grace."""
GONE_WITHIN_SEC = 2.0
"""No process of an attempt lives longer than this after its worker or its attempt has died."""
RETRY_WITHIN_SEC = 2.0
"""The end of a child is in the database so soon after it."""
THROUGHPUT_KEPT = 0.8
"""After a fault so much of the throughput before it is back, medians of WINDOWS windows."""
WINDOWS = 5
WINDOW_SEC = 2.0
MEMORY_KEPT = 1.10
"""A worker's memory after many tasks is at most this many times that after a tenth of them."""
OUTAGE_SEC = 600.0
"""So long a database or Valkey may be away, and nothing is lost. --full waits for all of it."""
SLACK_SEC = 1.0
"""Granted on top of every bound in seconds, because other programs run on the same cores."""
