"""The Absurd of earendil-works: its Python SDK on its own schema, which the package absurdctl brings along."""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

import psycopg
from absurd_sdk import Absurd
from absurdctl import BUNDLED_SCHEMA_SQL

from tests.benchmark.peers import peer_program

QUEUE = "benchmark"


class AbsurdSdk(peer_program.Peer):
    """Its synchronous client and worker."""

    version = f"absurd-sdk {importlib.metadata.version('absurd-sdk')}"

    def set_up(self) -> None:
        """Apply its schema and make a queue."""
        self._database = psycopg.connect(os.environ[peer_program.DATABASE_URL], autocommit=True)
        self._database.execute(BUNDLED_SCHEMA_SQL)
        self._app = self._connect()
        self._app.create_queue(QUEUE)

    def reset(self) -> None:
        """Make the queue anew."""
        self._database.execute(f"TRUNCATE absurd.t_{QUEUE}, absurd.r_{QUEUE}, absurd.c_{QUEUE}, absurd.w_{QUEUE}")

    def enqueue(self) -> None:
        """Spawn one."""
        self._app.spawn("noop", {"ms_path": peer_program.MS_PATH}, queue=QUEUE)

    def enqueue_many(self, count: int) -> None:
        """Spawn many in one statement of SQL; the SDK has no call for many."""
        self._database.execute(
            "SELECT absurd.spawn_task(%s, 'noop', jsonb_build_object('ms_path', %s::text)) FROM generate_series(1, %s)",
            [QUEUE, peer_program.MS_PATH, count],
        )

    def enqueue_stamped(self, spawned_at: float) -> None:
        """Spawn one that notes when it was picked up."""
        self._app.spawn("stamped", {"spawned_at": spawned_at}, queue=QUEUE)

    def left(self) -> int:
        """Count what has not ended."""
        row = self._database.execute(
            f"SELECT count(*) FROM absurd.t_{QUEUE} WHERE state IN ('pending', 'running', 'sleeping')"
        ).fetchone()
        return int(row[0]) if row else 0

    def work(self, concurrency: int) -> None:
        """Run its worker."""
        self._connect().start_worker(concurrency=concurrency)

    @staticmethod
    def _connect() -> Absurd:
        app = Absurd(os.environ[peer_program.DATABASE_URL], queue_name=QUEUE)

        @app.register_task("noop", queue=QUEUE)
        def noop(_params: dict[str, Any], _context: Any) -> None:
            """Do nothing."""

        @app.register_task("stamped", queue=QUEUE)
        def stamped(params: dict[str, Any], _context: Any) -> None:
            """Note when it was picked up."""
            peer_program.note_pickup(params["spawned_at"])

        return app


if __name__ == "__main__":
    peer_program.run(AbsurdSdk())
