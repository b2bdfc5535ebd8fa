"""Celery on Redis, its results ignored. What it holds does not survive the loss of Redis."""

from __future__ import annotations

import os

import celery
import redis

from tests.benchmark.peers import peer_program

QUEUE = "benchmark"
# Redis by its socket has a scheme of its own here.
BROKER_URL = os.environ[peer_program.REDIS_URL].replace("unix://", "redis+socket://")
PREFIX = os.environ[peer_program.PREFIX]

app = celery.Celery("benchmark", broker=BROKER_URL)
app.conf.update(
    task_ignore_result=True,
    task_default_queue=QUEUE,
    broker_transport_options={"global_keyprefix": PREFIX},
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(ms_path: str) -> None:
    """Do nothing."""


@app.task(name="stamped")
def stamped(spawned_at: float) -> None:
    """Note when it was picked up."""
    peer_program.note_pickup(spawned_at)


class Celery(peer_program.Peer):
    """One producer to enqueue, the prefork worker to run."""

    version = f"celery {celery.__version__} on Redis, not durable"
    many = 4_000

    def set_up(self) -> None:
        """Connect."""
        self._redis = redis.Redis.from_url(os.environ[peer_program.REDIS_URL])
        self.reset()

    def reset(self) -> None:
        """Delete its keys, and no others."""
        for key in self._redis.scan_iter(f"{PREFIX}*", count=1000):
            self._redis.delete(key)

    def enqueue(self) -> None:
        """Send one."""
        noop.apply_async(kwargs={"ms_path": peer_program.MS_PATH})

    def enqueue_many(self, count: int) -> None:
        """Send one after another through one producer; it has no call for many."""
        with app.producer_or_acquire() as producer:
            for _ in range(count):
                noop.apply_async(kwargs={"ms_path": peer_program.MS_PATH}, producer=producer)

    def enqueue_stamped(self, spawned_at: float) -> None:
        """Send one that notes when it was picked up."""
        stamped.apply_async(kwargs={"spawned_at": spawned_at})

    def left(self) -> int:
        """Count what waits and what workers hold."""
        return int(self._redis.llen(f"{PREFIX}{QUEUE}")) + int(self._redis.hlen(f"{PREFIX}unacked"))

    def work(self, concurrency: int) -> None:
        """Run its worker."""
        app.worker_main(
            ["worker", "--concurrency", str(concurrency), "--loglevel", "ERROR", "-n", f"w{os.getpid()}@%h"]
        )


if __name__ == "__main__":
    peer_program.run(Celery())
