"""What running attempts use, stored while they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tasks_app.postgresql import statements


@dataclass(frozen=True, kw_only=True)
class Used:
    """What one attempt has used so far."""

    claim_token: UUID
    peak_rss_bytes: int
    cpu_sec: float
    read_bytes: int
    write_bytes: int


_STORE = """
UPDATE tasks_app_attempt AS attempt
SET peak_rss_bytes = mine.peak_rss_bytes, cpu_sec = mine.cpu_sec, read_bytes = mine.read_bytes,
    write_bytes = mine.write_bytes, sampled_at = absurd_now()
FROM unnest(
    %(tokens)s::uuid[], %(peaks)s::bigint[], %(cpus)s::float8[], %(reads)s::bigint[], %(writes)s::bigint[]
) AS mine(token, peak_rss_bytes, cpu_sec, read_bytes, write_bytes)
WHERE attempt.claim_token = mine.token AND attempt.ended_at IS NULL
    AND EXISTS (SELECT FROM tasks_app_task AS task WHERE task.claim_token = mine.token AND task.status = 'claimed')
"""


def store(used: Sequence[Used]) -> None:
    """Store what attempts have used, in one statement; nothing is changed of those whose claim was lost."""
    if used:
        statements.run(
            _STORE,
            {
                "tokens": [each.claim_token for each in used],
                "peaks": [each.peak_rss_bytes for each in used],
                "cpus": [each.cpu_sec for each in used],
                "reads": [each.read_bytes for each in used],
                "writes": [each.write_bytes for each in used],
            },
        )
