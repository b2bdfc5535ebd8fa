"""Procrastinate with its psycopg connectors."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os

import procrastinate
import psycopg

from tests.benchmark.peers import peer_program

MANY_AT_ONCE = 1_000

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ[peer_program.DATABASE_URL]))


@app.task(name="noop")
async def noop(ms_path: str) -> None:
    """Do nothing."""


@app.task(name="stamped")
async def stamped(spawned_at: float) -> None:
    """Note when it was picked up."""
    peer_program.note_pickup(spawned_at)


class Procrastinate(peer_program.Peer):
    """Its synchronous API to enqueue, its asynchronous worker to run."""

    version = f"procrastinate {importlib.metadata.version('procrastinate')}"

    def set_up(self) -> None:
        """Apply its schema."""
        self._database = psycopg.connect(os.environ[peer_program.DATABASE_URL], autocommit=True)
        app.open()
        app.schema_manager.apply_schema()

    def reset(self) -> None:
        """Empty its tables."""
        self._database.execute("TRUNCATE procrastinate_jobs CASCADE")

    def enqueue(self) -> None:
        """Defer one."""
        app.configure_task("noop").defer(ms_path=peer_program.MS_PATH)

    def enqueue_many(self, count: int) -> None:
        """Defer in batches."""
        for done in range(0, count, MANY_AT_ONCE):
            batch = [{"ms_path": peer_program.MS_PATH}] * min(MANY_AT_ONCE, count - done)
            app.configure_task("noop").batch_defer(*batch)

    def enqueue_stamped(self, spawned_at: float) -> None:
        """Defer one that notes when it was picked up."""
        app.configure_task("stamped").defer(spawned_at=spawned_at)

    def left(self) -> int:
        """Count what is to do or being done."""
        found = self._database.execute("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")
        row = found.fetchone()
        return int(row[0]) if row else 0

    def work(self, concurrency: int) -> None:
        """Run its worker."""

        async def serve() -> None:
            async with app.open_async():
                await app.run_worker_async(concurrency=concurrency, wait=True)

        asyncio.run(serve())


if __name__ == "__main__":
    peer_program.run(Procrastinate())
