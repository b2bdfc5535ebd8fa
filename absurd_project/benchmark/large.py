"""With a million finished and a hundred thousand pending tasks: claims, statistics, the first pages."""

from __future__ import annotations

import statistics
import time
import urllib.request
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore

from absurd_project.benchmark import noop, tables
from absurd_project.benchmark.crew import Crew
from absurd_project.benchmark.figures import Figures, percentile
from absurd_project.benchmark.progress import Progress
from absurd_project.benchmark.scratch import Scratch
from absurd_project.benchmark.servers import web
from absurd_project.benchmark.sizes import Sizes
from tasks_app import stats

SMALL_PENDING = 1_000
SMALL_CLAIMS = 500
"""So many are claimed of the small backlog before it is made anew: it must stay near its size."""
EXPLAINED = 25
STATS_CACHED_SEC = 2.1
"""Longer than statistics may be kept, so that each call counts anew."""
PAGES = {
    "console page": "/admin/tasks_app/task/",
    "API page": "/api/absurd/tasks",
    "API stats": f"/api/absurd/queues/{noop.QUEUE}/stats",
}


def measure(crew: Crew, scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure claims with little in the tables, then everything with much, then claims with little again."""
    chunk = max(1, sizes.finished // 10)
    with progress.part("large tables", 13 + len(PAGES)) as step:
        small = _claim_small(crew, sizes.claims // 2)
        step()
        tables.truncate()
        for _ in range(sizes.finished // chunk):
            tables.add_finished(chunk)
            step()
        tables.add_pending(sizes.pending)
        tables.vacuum()
        full = crew.order(do="claim_times", contender="ours", count=sizes.claims)[0]["times_ms"]
        full_buffers = _buffers(crew)
        step()
        with web(scratch) as port:
            _measure_stats(sizes, figures)
            for name, path in PAGES.items():
                figures.add_distribution(name, _fetch(port, path, sizes.page_loads))
                step()
        small += _claim_small(crew, sizes.claims - sizes.claims // 2)
        small_buffers = _buffers(crew)
        tables.truncate()
    _compare(figures, small, full, small_buffers, full_buffers)


def _claim_small(crew: Crew, count: int) -> list[float]:
    times_ms: list[float] = []
    while len(times_ms) < count:
        tables.truncate()
        tables.add_pending(SMALL_PENDING)
        tables.vacuum()
        few = min(SMALL_CLAIMS, count - len(times_ms))
        times_ms += crew.order(do="claim_times", contender="ours", count=few)[0]["times_ms"]
    return times_ms


def _buffers(crew: Crew) -> float:
    answer: dict[str, Any] = crew.order(do="claim_buffers", contender="ours", count=EXPLAINED)[0]
    return statistics.median(answer["buffers"])


def _compare(
    figures: Figures, small: list[float], full: list[float], small_buffers: float, full_buffers: float
) -> None:
    figures.add_distribution("claim, little pending", small)
    figures.add_distribution("claim, large tables", full)
    by_time = percentile(full, 50) / percentile(small, 50)
    by_buffers = full_buffers / small_buffers
    figures.ratios["claim_full_vs_small"] = max(by_time, by_buffers)
    figures.notes.append(
        f"claim_full_vs_small is the larger of {by_time:.2f} in time (p50) and {by_buffers:.2f} in buffers "
        f"({full_buffers:.0f} against {small_buffers:.0f})"
    )


def _measure_stats(sizes: Sizes, figures: Figures) -> None:
    times_ms = []
    for _ in range(sizes.stats_calls):
        time.sleep(STATS_CACHED_SEC)
        began = time.perf_counter()
        stats.queue_stats([noop.QUEUE])
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
