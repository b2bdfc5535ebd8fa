"""With a million finished and a hundred thousand pending tasks: claims, statistics, the first pages, readers."""

from __future__ import annotations

import statistics
import time
import urllib.request
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore

from absurd_project.benchmark import api_load, noop, tables
from absurd_project.benchmark.measures import Figures, Progress, Sizes, Step, percentile
from absurd_project.benchmark.processes import ClientPool, client_pool, web
from absurd_project.benchmark.scratch import Scratch, second_database
from tasks_app.monitoring import queues

SMALL_PENDING = SMALL_FINISHED = 1_000
FILLS = 10
TURNS = 8
EXPLAINED = 25
STATS_CACHED_SEC = 2.1
"""Longer than statistics may be kept, so that each call counts again."""
PAGES = {
    "console page": "/admin/tasks_app/task/",
    "API page": "/api/absurd/tasks",
    "API stats": f"/api/absurd/queues/{noop.QUEUE}/stats",
}


def measure(whole: ClientPool, scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Fill the tables, claim there and in a database that has little by turns, then count and load pages."""
    chunk = max(1, sizes.finished // FILLS)
    with progress.part("large tables", FILLS + TURNS + len(PAGES) + 2) as step:
        tables.truncate()
        tables.add_finished(SMALL_FINISHED)
        tables.vacuum()
        with web(scratch) as port:
            api_load.measure(port, sizes.api_load_sec, figures, size="small")
        step()
        tables.truncate()
        for _ in range(sizes.finished // chunk):
            tables.add_finished(chunk)
            step()
        tables.add_pending(sizes.pending)
        tables.vacuum()
        with second_database(scratch) as other, client_pool(other, clients=1) as alone:
            _measure_claims(whole, alone, other, sizes, figures, step)
        with web(scratch) as port:
            _measure_stats(sizes, figures)
            for name, path in PAGES.items():
                figures.add_distribution(name, _fetch(port, path, sizes.page_loads))
                step()
            api_load.measure(port, sizes.api_load_sec, figures, size="large")
            step()
        api_load.compare(figures)
        tables.truncate()


def _measure_claims(
    whole: ClientPool, alone: ClientPool, other: Scratch, sizes: Sizes, figures: Figures, step: Step
) -> None:
    """Claim in turns, so that both meet the same disturbances; the small backlog is made again each time."""
    few, times_ms = max(1, sizes.claims // TURNS), {"full": list[float](), "small": list[float]()}
    for _ in range(TURNS):
        with other.here():
            tables.truncate_queue()
            tables.add_pending(SMALL_PENDING)
            tables.vacuum()
        for name, clients in (("small", alone), ("full", whole)):
            times_ms[name] += clients.order(do="claim_times", contender="ours", count=few)[0]["times_ms"]
        step()
    figures.add_distribution("claim, little pending", times_ms["small"])
    figures.add_distribution("claim, large tables", times_ms["full"])
    by_time = percentile(times_ms["full"], 50) / percentile(times_ms["small"], 50)
    small_buffers, full_buffers = _buffers(alone), _buffers(whole)
    by_buffers = full_buffers / small_buffers
    figures.ratios["claim_full_vs_small"] = max(by_time, by_buffers)
    figures.notes.append(
        f"claim_full_vs_small is the larger of {by_time:.2f} in time (p50) and {by_buffers:.2f} in buffers "
        f"({full_buffers:.0f} against {small_buffers:.0f})"
    )


def _buffers(clients: ClientPool) -> float:
    answer: dict[str, Any] = clients.order(do="claim_buffers", contender="ours", count=EXPLAINED)[0]
    return statistics.median(answer["buffers"])


def _measure_stats(sizes: Sizes, figures: Figures) -> None:
    times_ms = []
    for _ in range(sizes.stats_calls):
        time.sleep(STATS_CACHED_SEC)
        began = time.perf_counter()
        queues.queue_stats([noop.QUEUE])
        times_ms.append((time.perf_counter() - began) * 1000)
    figures.add_distribution("stats", times_ms)


def _fetch(port: int, path: str, count: int) -> list[float]:
    """Return how long each load of a page took an operator who is logged in, in ms; the first is not counted."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Cookie": f"sessionid={_session()}"})
    times_ms = []
    for _ in range(count + 1):
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
            response.read()
            if response.geturl() != request.full_url:
                raise RuntimeError(f"{path} led to {response.geturl()}")
        times_ms.append((time.perf_counter() - began) * 1000)
    return times_ms[1:]


def _session() -> str:
    user, _ = User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)
