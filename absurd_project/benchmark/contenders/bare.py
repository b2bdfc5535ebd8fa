"""The limit that one bare table sets: a row a task, one partial index, no history, no fence, no counts."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from absurd_project.benchmark import noop

TABLE = "absurd_benchmark_bare"

CREATE = f"""
CREATE TABLE {TABLE} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    priority int NOT NULL DEFAULT 0,
    params jsonb NOT NULL,
    result jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at timestamptz,
    completed_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX {TABLE}_pending ON {TABLE} (priority, id) WHERE status = 'pending'
"""

_SPAWN = f"INSERT INTO {TABLE} (name, params) SELECT '{noop.NAME}', params FROM unnest(%s::jsonb[]) AS given(params)"  # noqa: S608

_CLAIM = f"""
UPDATE {TABLE} SET status = 'claimed', claimed_at = clock_timestamp()
WHERE id = ANY(ARRAY(
    SELECT id FROM {TABLE} WHERE status = 'pending' ORDER BY priority, id LIMIT %s FOR UPDATE SKIP LOCKED
))
RETURNING id, params
"""  # noqa: S608 - constants of ours

_COMPLETE = f"""
UPDATE {TABLE} SET status = 'completed', completed_at = clock_timestamp(), result = %s WHERE id = ANY(%s)
"""  # noqa: S608 - constants of ours


class Bare:
    """One statement and one transaction for each of spawn, claim and complete."""

    def __init__(self, url: str) -> None:
        self._database = psycopg.connect(url, autocommit=True)

    def spawn_one(self) -> None:
        """Insert one row."""
        self.spawn_many(1)

    def spawn_many(self, count: int) -> None:
        """Insert many rows."""
        self._database.execute(_SPAWN, [[json.dumps(noop.PARAMS) for _ in range(count)]])

    def claim(self, limit: int) -> list[Any]:
        """Update the rows."""
        return self._database.execute(_CLAIM, [limit]).fetchall()

    def complete(self, claims: list[Any]) -> None:
        """Update the rows again."""
        self._database.execute(_COMPLETE, [json.dumps(noop.RESULT), [row[0] for row in claims]])
