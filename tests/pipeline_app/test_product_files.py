from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client, RequestFactory

from pipeline_app.admin import product_files
from pipeline_app.models import Product
from tasks_app.models import Task

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def data_root(settings: Any, tmp_path: Path) -> None:
    settings.ABSURD_DATA_ROOTS = [tmp_path.parent]


@pytest.fixture
def viewer() -> User:
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.add(Group.objects.get(name="Viewer"))
    return user


def make_product(path: Path, kind: str, **fields: Any) -> Product:
    defaults = {"task_id": uuid4(), "attempt": 1, "task_name": "imaging", "path": str(path), "kind": kind}
    return Product.objects.create(**{**defaults, **fields})


def test_a_picture_is_shown_and_a_file_is_saved(viewer, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    client = Client()
    client.force_login(viewer)
    response = client.get(product_files.address(make_product(tmp_path / "a.png", "preview")))
    assert (response.content, response["Content-Type"]) == (PNG, "image/png")
    assert response["Content-Disposition"] == 'inline; filename="a.png"'


def test_a_large_file_is_sent_in_parts(viewer, tmp_path):
    (tmp_path / "a.fits").write_bytes(b"SIMPLE" * 300_000)
    request = RequestFactory().get("/")
    request.user = viewer
    response = product_files.send(request, make_product(tmp_path / "a.fits", "image").pk)

    async def collect() -> list[bytes]:
        return [part async for part in response.streaming_content]

    parts = asyncio.run(collect())
    assert (b"".join(parts), len(parts)) == (b"SIMPLE" * 300_000, 2)
    assert response["Content-Disposition"] == 'attachment; filename="a.fits"'


def test_a_product_that_is_gone_or_a_directory_is_not_found(viewer, tmp_path):
    client = Client()
    client.force_login(viewer)
    for path in (tmp_path, tmp_path / "gone.png"):
        assert client.get(product_files.address(make_product(path, "preview"))).status_code == 404


def test_nobody_without_the_permission_gets_a_file(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    address = product_files.address(make_product(tmp_path / "a.png", "preview"))
    assert Client().get(address).status_code == 302
    client = Client()
    client.force_login(User.objects.create_user("nemo", is_staff=True))
    assert client.get(address).status_code == 403


def test_the_tasks_page_shows_what_it_made(viewer, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    product = make_product(tmp_path / "a.png", "preview", verdict="pass")
    table = product_files.of_task(Task(task_id=product.task_id, claim_epoch=1))
    ((picture, kind, path, verdict),) = table.rows
    assert f'/admin/pipeline_app/product/{product.pk}/change/">preview' in kind
    assert f'<img class="thumb" loading="lazy" src="{product_files.address(product)}"' in picture
    assert "a.png" in path
    assert "pill-pass" in verdict


def test_an_image_has_the_picture_of_its_thumbnail_and_leads_to_its_page(viewer, tmp_path):
    (tmp_path / "small.png").write_bytes(PNG)
    image = make_product(tmp_path / "a.fits", "image")
    small = make_product(tmp_path / "small.png", "thumbnail", task_id=image.task_id)
    (picture, *_), _ = product_files.of_task(Task(task_id=image.task_id, claim_epoch=1)).rows
    assert f'href="/admin/images/{image.pk}/' in picture
    assert f'src="{product_files.address(small)}"' in picture
