"""Production behind a real nginx with the configuration of deploy/: one web process for all checks."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from websockets.sync.client import connect

from absurd_project.local.supervisor import is_open
from pipeline_app.models import Product
from tasks_app.testing import make_worker
from tests.daphne_server import free_port, serving
from tests.deploy.tools import DEPLOY, passes, program
from tests.tasks_app.callers import make_key, make_user

pytestmark = pytest.mark.django_db(transaction=True)
HOST = "absurd.example.org"
MAIN = """
{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


def configure(directory: Path, *, web: int, http: int, https: int, data: Path) -> Path:
    """Write a main configuration around the one of deploy/, with ports and places of this test."""
    directory.mkdir()
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    passes(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    site = (DEPLOY / "nginx" / "absurd.conf").read_text()
    for found, wanted in {
        "/etc/absurd/tls/fullchain.pem": str(certificate),
        "/etc/absurd/tls/privkey.pem": str(key),
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{web};",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{https} ssl http2;",
        "listen [::]:80;": "",
        "listen [::]:443 ssl http2;": "",
        "/internal-files/data/": f"/internal-files{data}/",
        "alias /data/;": f"alias {data}/;",
        "from=/data/;": f"from={data}/;",
    }.items():
        assert found in site, found
        site = site.replace(found, wanted)
    (directory / "site.conf").write_text(site)
    main = directory / "nginx.conf"
    main.write_text(MAIN.format(directory=directory, user="user root;\n" if os.geteuid() == 0 else ""))
    return main


@contextlib.contextmanager
def nginx(main: Path, port: int) -> Iterator[None]:
    """Check the configuration and run nginx with it."""
    command = [program("nginx", "apt-get install nginx-light"), "-c", str(main), "-p", str(main.parent)]
    passes(*command, "-t")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not is_open(port):
            assert process.poll() is None and time.monotonic() < deadline, (main.parent / "error.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def fits_product(data: Path) -> tuple[Product, bytes]:
    content = b"SIMPLE  =                    T" + os.urandom(3 << 20)
    path = data / "a tile" / "image.fits"
    path.parent.mkdir()
    path.write_bytes(content)
    return Product.objects.create(
        path=str(path), kind="image", task_id=uuid4(), attempt=1, task_name="imaging"
    ), content


def test_production_behind_nginx(live_environment: dict[str, str], tmp_path: Path):
    program("nginx", "apt-get install nginx-light")
    web, http, https = free_port(), free_port(), free_port()
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    environment = live_environment | {
        "ABSURD_MODE": "production",
        "SECRET_KEY": "0123456789" * 5,
        "ABSURD_HOSTS": HOST,
        "ABSURD_PROXIES": "127.0.0.1",
        "ABSURD_INTERNAL_FILES": "/internal-files",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "3000000",
    }
    product, content = fits_product(tmp_path / "data")
    key = make_key("read", "spawn")
    make_user("anna", "Operator")
    make_worker()
    main = configure(tmp_path / "nginx", web=web, http=http, https=https, data=tmp_path / "data")
    with notified, serving(environment, port=web), nginx(main, https):
        _says_ready_and_alive(notified)
        _probes_need_neither_tls_nor_name(web)
        _plain_http_is_redirected(http)
        headers = {"Host": HOST, "X-API-Key": key}
        with httpx.Client(base_url=f"https://127.0.0.1:{https}", verify=False, headers=headers, timeout=60) as client:
            _api(client)
            _fits(client, product, content)
        _login(https)
        _socket(https, key)


def _says_ready_and_alive(notified: socket.socket) -> None:
    notified.settimeout(60)
    said = ""
    while not {"READY=1", "WATCHDOG=1"} <= set(said.split()):
        said += notified.recv(1024).decode() + "\n"


def _probes_need_neither_tls_nor_name(web: int) -> None:
    for path in ("healthz", "readyz"):
        answer = httpx.get(f"http://127.0.0.1:{web}/{path}", timeout=60)
        assert answer.status_code == 200 and answer.text.strip() in ("healthy", "degraded"), answer.text
    assert httpx.get(f"http://127.0.0.1:{web}/api/absurd/health", timeout=60).status_code == 400


def _plain_http_is_redirected(http: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{http}/admin/", headers={"Host": HOST}, timeout=60)
    assert (answer.status_code, answer.headers["location"]) == (301, f"https://{HOST}/admin/")


def _api(client: httpx.Client) -> None:
    health = client.get("/api/absurd/health")
    assert health.status_code == 200 and health.json()["status"] in ("healthy", "degraded")
    assert "max-age" in health.headers["strict-transport-security"]
    assert client.get("/healthz").status_code == 200  # from this host
    spawned = client.post("/api/absurd/tasks", json={"task_name": "imaging", "params": {}})
    assert spawned.status_code == 422, spawned.text
    assert client.post("/api/absurd/tasks", content=b"x" * (4 << 20)).status_code == 413
    # What a client says of its own address reaches nobody.
    anonymous = {"X-API-Key": "", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http"}
    assert client.get("/api/absurd/tasks", headers=anonymous).status_code == 401


def _fits(client: httpx.Client, product: Product, content: bytes) -> None:
    path = f"/api/absurd/pipeline/products/{product.pk}/file"
    answer = client.get(path)
    assert answer.status_code == 200 and answer.content == content
    assert (
        answer.headers["content-type"] == "application/fits" and "image.fits" in answer.headers["content-disposition"]
    )
    assert "x-accel-redirect" not in answer.headers and answer.headers["server"] == "nginx"
    part = client.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    assert client.get(f"/internal-files{product.path}").status_code == 404
    assert client.get(path, headers={"X-API-Key": ""}).status_code == 401


def _login(https: int) -> None:
    with httpx.Client(
        base_url=f"https://127.0.0.1:{https}", verify=False, headers={"Host": HOST}, timeout=60
    ) as client:
        page = client.get("/admin/login/")
        cookie = page.headers["set-cookie"]
        assert "Secure" in cookie, cookie
        token = page.cookies["csrftoken"]
        form = {"username": "anna", "password": "correct horse battery", "csrfmiddlewaretoken": token}
        headers = {"Referer": f"https://{HOST}/admin/login/", "Cookie": f"csrftoken={token}"}
        answer = client.post("/admin/login/", data=form, headers=headers)
        assert answer.status_code == 302, answer.text
        session = {"Cookie": f"sessionid={answer.cookies['sessionid']}"}
        assert client.get("/admin/", headers=session).status_code == 200


def _socket(https: int, key: str) -> None:
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    line = socket.create_connection(("127.0.0.1", https))
    with connect(f"wss://{HOST}/ws/status", sock=line, ssl=unverified, additional_headers={"X-API-Key": key}) as feed:
        assert '"hello"' in feed.recv(timeout=60)
