"""Readers of the API at a steady rate, whether it keeps up or not: nine details of tasks for each list of a hundred."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import httpx

from absurd_project.benchmark.measures import Figures, percentile
from absurd_project.benchmark.processes import DoesNotStart
from tasks_app.models import ApiKey, Task

PER_SEC = 20
LISTS_EVERY = 10
LIST = "tasks?limit=100"
ANSWER_SEC = 30.0
WARM_UP = 2 * LISTS_EVERY


def measure(port: int, duration_sec: float, figures: Figures, *, size: str) -> None:
    """Add how long details and lists took from the moment they were due, under names that end in `size`.

    Raises DoesNotStart when a request was refused.
    """
    _, key = ApiKey.objects.create_key(name=f"benchmark {size}", scopes=["read"])
    newest = Task.objects.order_by("-id").values_list("task_id", flat=True)[:2000]
    paths = [f"tasks/{task_id}" for task_id in newest]
    details, lists = asyncio.run(_load(port, key, paths, duration_sec))
    figures.add_distribution(f"api_detail_{size}", details)
    figures.add_distribution(f"api_list_{size}", lists)


def compare(figures: Figures) -> None:
    """Say how much longer a list takes in large tables than in small ones."""
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
