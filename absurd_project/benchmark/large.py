"""With a million finished and a hundred thousand pending tasks: claims, statistics, first pages, readers of the API.

The readers send requests at a steady rate, whether or not the last were answered.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

import httpx
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore

from absurd_project.benchmark import load
from absurd_project.benchmark.measures import Figures, Progress, Sizes, Step, percentile
from absurd_project.benchmark.queue import ClientPool, client_pool
from absurd_project.benchmark.scratch import DoesNotStart, Scratch, second_database, web
from tasks_app.models import ApiKey, Task
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
    "API stats": f"/api/absurd/queues/{load.QUEUE}/stats",
}
PER_SEC = 20
LISTS_EVERY = 10
LIST = "tasks?limit=100"
ANSWER_SEC = 30.0
WARM_UP = 2 * LISTS_EVERY


def measure(whole: ClientPool, scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Fill the tables, claim there and in a database that has little by turns, then count and load pages."""
    chunk = max(1, sizes.finished // FILLS)
    with progress.part("large tables", FILLS + TURNS + len(PAGES) + 2) as step:
        load.truncate()
        load.add_finished(SMALL_FINISHED)
        load.vacuum()
        with web(scratch) as port:
            _measure_api(port, sizes.api_load_sec, figures, size="small")
        step()
        load.truncate()
        for _ in range(sizes.finished // chunk):
            load.add_finished(chunk)
            step()
        load.add_pending(sizes.pending)
        load.vacuum()
        with second_database(scratch) as other, client_pool(other, clients=1) as alone:
            _measure_claims(whole, alone, other, sizes, figures, step)
        with web(scratch) as port:
            _measure_stats(sizes, figures)
            for name, path in PAGES.items():
                figures.add_distribution(name, _fetch(port, path, sizes.page_loads))
                step()
            _measure_api(port, sizes.api_load_sec, figures, size="large")
            step()
        _compare_api(figures)
        load.truncate()


def _measure_claims(
    whole: ClientPool, alone: ClientPool, other: Scratch, sizes: Sizes, figures: Figures, step: Step
) -> None:
    """Claim in turns, so that both meet the same disturbances; the small backlog is made again each time."""
    few, times_ms = max(1, sizes.claims // TURNS), {"full": list[float](), "small": list[float]()}
    for _ in range(TURNS):
        with other.here():
            load.truncate()
            load.add_pending(SMALL_PENDING)
            load.vacuum()
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
        queues.queue_stats([load.QUEUE])
        times_ms.append((time.perf_counter() - began) * 1000)
    figures.add_distribution("stats", times_ms)


def _fetch(port: int, path: str, count: int) -> list[float]:
    """Return how long each load of a page took an operator who is logged in, in ms; the first is not counted."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers={"Cookie": f"sessionid={session_of(_person())}"}
    )
    times_ms = []
    for _ in range(count + 1):
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
            response.read()
            if response.geturl() != request.full_url:
                raise RuntimeError(f"{path} led to {response.geturl()}")
        times_ms.append((time.perf_counter() - began) * 1000)
    return times_ms[1:]


def _person() -> User:
    return User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)[0]


def session_of(user: User) -> str:
    """Log a person in, and return the session's key."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def _measure_api(port: int, duration_sec: float, figures: Figures, *, size: str) -> None:
    """Add how long details and lists took from the moment they were due, under names that end in `size`.

    Raises DoesNotStart when a request was refused.
    """
    _, key = ApiKey.objects.create_key(name=f"benchmark {size}", scopes=["read"])
    newest = Task.objects.order_by("-id").values_list("task_id", flat=True)[:2000]
    paths = [f"tasks/{task_id}" for task_id in newest]
    details, lists = asyncio.run(_load(port, key, paths, duration_sec))
    figures.add_distribution(f"api_detail_{size}", details)
    figures.add_distribution(f"api_list_{size}", lists)


def _compare_api(figures: Figures) -> None:
    """Note how much longer a list takes in large tables than in small ones."""
    large, small = (figures.distributions.get(f"api_list_{size}") for size in ("large", "small"))
    if large and small:
        figures.ratios["api_list_large_vs_small"] = percentile(large, 99) / percentile(small, 99)
        medians = percentile(large, 50) / percentile(small, 50)
        figures.notes.append(f"api_list_large_vs_small is of p99; of p50 it is {medians:.2f}")


async def _load(port: int, key: str, details: Sequence[str], duration_sec: float) -> tuple[list[float], list[float]]:
    times_ms: tuple[list[float], list[float]] = ([], [])
    address = f"http://127.0.0.1:{port}/api/absurd/"
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    async with httpx.AsyncClient(
        base_url=address, headers={"X-API-Key": key}, timeout=ANSWER_SEC, limits=limits
    ) as client:
        for number in range(WARM_UP):
            await _read(client, LIST if number % LISTS_EVERY == 0 else details[0], time.perf_counter(), [])
        due = time.perf_counter()
        async with asyncio.TaskGroup() as readers:
            for number in range(int(PER_SEC * duration_sec)):
                due += 1 / PER_SEC
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                is_list = number % LISTS_EVERY == 0
                path = LIST if is_list else random.choice(details)  # noqa: S311 - not a secret
                readers.create_task(_read(client, path, due, times_ms[is_list]))
    return times_ms


async def _read(client: httpx.AsyncClient, path: str, due: float, times_ms: list[float]) -> None:
    answer = await client.get(path)
    if answer.status_code != 200:
        raise DoesNotStart(f"{path} was answered by {answer.status_code}: {answer.text[:200]}")
    times_ms.append((time.perf_counter() - due) * 1000)
