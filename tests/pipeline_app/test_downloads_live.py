"""Large products fetched from the real web process by slow clients."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from pipeline_app.models import Product
from tests.daphne_server import serving
from tests.tasks_app.callers import make_key

pytestmark = pytest.mark.django_db(transaction=True)
SIZE = 400 << 20
CLIENTS = 12
"""More than the process has database connections."""
GROWTH_MOST = 100 << 20


def rss() -> int:
    (web,) = [child for child in psutil.Process(os.getpid()).children() if "daphne" in " ".join(child.cmdline())]
    return int(web.memory_info().rss)


def publish(path: Path, size: int) -> Product:
    with path.open("wb") as file:
        file.truncate(size)
    return Product.objects.create(path=str(path), kind="image", task_id=uuid4(), attempt=1, task_name="imaging")


def ask(port: int, key: str, product: Product) -> socket.socket:
    """Ask for the file and read nothing."""
    asking = socket.create_connection(("127.0.0.1", port))
    path = f"/api/absurd/pipeline/products/{product.pk}/file"
    asking.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode())
    return asking


def test_slow_clients_cost_neither_memory_nor_database_connections(live_environment):
    key = make_key("read")
    path = Path(live_environment["ABSURD_DATA_ROOTS"]) / "large.fits"
    product = publish(path, SIZE)
    key_header = {"X-API-Key": key}
    with (
        serving(live_environment) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=key_header, timeout=20) as client,
    ):
        client.get("/api/absurd/queues").raise_for_status()
        before = rss()
        clients = [ask(port, key, product) for _ in range(CLIENTS)]
        try:
            time.sleep(3)
            client.get("/api/absurd/queues").raise_for_status()
            assert rss() - before < GROWTH_MOST
        finally:
            for each in clients:
                each.close()
        whole = client.get(f"/api/absurd/pipeline/products/{publish(path.with_name('small.fits'), 5 << 20).pk}/file")
        assert len(whole.content) == 5 << 20
