"""Products over HTTP: what is known of them, their files and their pictures."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline_app.models import Product
from tasks_app.files.http_streaming import CHUNK_BYTES
from tests.tasks_app.callers import Caller, log_in, make_key

pytestmark = pytest.mark.django_db
ROOT = "/api/absurd/pipeline/products"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read"))


@pytest.fixture
def data(settings: Any, tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    settings.ABSURD_DATA_ROOTS = [root]
    return root


def publish(path: Path | str, kind: str = "image", **fields: Any) -> Product:
    defaults = {"task_id": uuid4(), "attempt": 1, "task_name": "imaging"}
    return Product.objects.create(path=str(path), kind=kind, **{**defaults, **fields})


def sent(response: Any) -> bytes:
    async def collect() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    return asyncio.run(collect()) if response.streaming else response.content


def test_products_are_listed_narrowed_and_shown_with_their_making(api):
    image = publish(
        "/data/a.fits", verdict="pass", params={"niter": 5}, versions={"casa": "6.7"}, inputs=["/data/a.ms"]
    )
    plot = publish("/data/a.png", "plot", task_id=image.task_id)
    rows = api.get(ROOT).body["products"]
    assert [row["id"] for row in rows] == [plot.pk, image.pk]
    assert "params" not in rows[0]
    assert [row["id"] for row in api.get(f"{ROOT}?kind=plot&task_id={image.task_id}").body["products"]] == [plot.pk]
    shown = api.get(f"{ROOT}/{image.pk}").body
    assert (shown["params"], shown["versions"], shown["inputs"]) == ({"niter": 5}, {"casa": "6.7"}, ["/data/a.ms"])
    assert shown["file"] == f"{ROOT}/{image.pk}/file"
    assert api.get(f"{ROOT}?kin=plot").status_code == 400


def test_a_file_is_fetched_whole_and_by_ranges(api, data):
    content = b"SIMPLE" * 300_000
    (data / "a.fits").write_bytes(content)
    address = f"{ROOT}/{publish(data / 'a.fits').pk}/file"
    response = api.get(address, Accept="application/fits")
    assert (response.status_code, response["Content-Type"]) == (200, "application/fits")
    assert response["Content-Disposition"] == 'attachment; filename="a.fits"'
    assert response["Content-Length"] == str(len(content))
    assert sent(response) == content
    part = api.get(address, Range=f"bytes=3-{CHUNK_BYTES + 7}")
    assert (part.status_code, part["Content-Range"]) == (206, f"bytes 3-{CHUNK_BYTES + 7}/{len(content)}")
    assert sent(part) == content[3 : CHUNK_BYTES + 8]
    assert sent(api.get(address, Range="bytes=-6")) == b"SIMPLE"
    assert api.get(address, Range="bytes=9999999-").status_code == 416


def test_a_directory_is_fetched_as_tar_without_links(api, data, tmp_path):
    ms = data / "tile.ms"
    (ms / "table.f1").mkdir(parents=True)
    (ms / "table.dat").write_bytes(b"x" * 700)
    (ms / "table.f1" / "big").write_bytes(b"y" * (CHUNK_BYTES + 3))
    (ms / "empty").touch()
    (tmp_path / "secret").write_text("hunter2")
    (ms / "link").symlink_to(tmp_path / "secret")
    (ms / "away").symlink_to(tmp_path)
    response = api.get(f"{ROOT}/{publish(ms, 'ms').pk}/file")
    assert (response.status_code, response["Content-Type"]) == (200, "application/x-tar")
    assert response["Content-Disposition"] == 'attachment; filename="tile.ms.tar"'
    content = sent(response)
    assert b"hunter2" not in content
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = archive.getnames()
        assert sorted(names) == [
            "tile.ms",
            "tile.ms/empty",
            "tile.ms/table.dat",
            "tile.ms/table.f1",
            "tile.ms/table.f1/big",
        ]
        assert archive.extractfile("tile.ms/table.dat").read() == b"x" * 700
        assert archive.extractfile("tile.ms/table.f1/big").read() == b"y" * (CHUNK_BYTES + 3)


def test_a_picture_is_shown_its_own_or_that_of_its_task(api, data):
    (data / "a.png").write_bytes(PNG)
    preview = publish(data / "a.png", "preview")
    image = publish(data / "a.fits", task_id=preview.task_id)
    (data / "small.png").write_bytes(PNG + b"small")
    publish(data / "small.png", "thumbnail", task_id=preview.task_id)
    for product in (preview, image):
        response = api.get(f"{ROOT}/{product.pk}/preview", Accept="image/*")
        assert (response.status_code, response["Content-Type"], response.content) == (200, "image/png", PNG)
        assert response["Content-Disposition"].startswith("inline")
        assert response["X-Content-Type-Options"] == "nosniff"
    assert "made no picture" in api.get(f"{ROOT}/{publish('/data/b.ms').pk}/preview").body["detail"]


def test_nothing_outside_the_data_roots_is_sent(api, data, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_text("hunter2")
    (data / "link.png").symlink_to(secret)
    (data / "folder").symlink_to(tmp_path)
    for path in (
        secret, data / "link.png", data / ".." / "secret.png", data / "folder" / "secret.png", data / "folder", data,
        data / "gone.fits", "/etc/passwd", "relative.png", "",
    ):  # fmt: skip
        product = publish(path, "preview")
        for what in ("file", "preview"):
            response = api.get(f"{ROOT}/{product.pk}/{what}")
            assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json"), path


def test_only_who_may_view_products_fetches_them(data):
    (data / "a.fits").write_bytes(b"SIMPLE")
    address = f"{ROOT}/{publish(data / 'a.fits').pk}/file"
    assert Caller().get(address).status_code == 401
    assert Caller(make_key("operate")).get(address).status_code == 403
    assert log_in("nora").get(address).status_code == 403
    assert log_in("vera", "Viewer").get(address).content == b"SIMPLE"
