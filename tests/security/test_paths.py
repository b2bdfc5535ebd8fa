"""Ways out of the directories: on downloads, logs and addresses."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from pipeline_app.models import Product
from tasks_app.models import Attempt
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import claim_one, spawn_note

pytestmark = pytest.mark.django_db

SECRET = "for nobody outside"


@pytest.fixture
def outside(tmp_path: Path, settings) -> Path:
    """A file outside of everything, beside a data root and a state directory."""
    settings.ABSURD_DATA_ROOTS = [tmp_path / "data"]
    settings.ABSURD_VAR = tmp_path / "var"
    (tmp_path / "data").mkdir()
    (tmp_path / "var" / "log" / "attempts").mkdir(parents=True)
    (tmp_path / "data-of-others").mkdir()
    for place in (tmp_path, tmp_path / "data-of-others", tmp_path / "var", tmp_path / "var" / "log"):
        (place / "secret").write_text(SECRET)
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "directory").symlink_to(tmp_path)
    (tmp_path / "var" / "log" / "attempts" / "link").symlink_to(tmp_path / "secret")
    return tmp_path


WAYS = ["secret", "data/../secret", "data/link", "data/directory/secret", "data-of-others/secret"]


@pytest.mark.parametrize("way", WAYS)
def test_a_product_outside_the_data_roots_is_not_sent(way, outside):
    fields = {"task_id": uuid4(), "attempt": 1, "task_name": "imaging", "kind": "preview"}
    product = Product.objects.create(path=f"{outside}/{way}", **fields)
    api = Caller(make_key("read"))
    for ending in ("file", "preview"):
        answer = api.get(f"pipeline/products/{product.pk}/{ending}")
        assert (answer.status_code, SECRET in answer.content.decode()) == (404, False)


@pytest.mark.parametrize(
    "way", ["secret", "var/secret", "var/log/secret", "var/log/attempts/../secret", "var/log/attempts/link"]
)
def test_a_log_outside_the_logs_directory_is_not_sent(way, outside, worker):
    task = spawn_note()
    claim_one(worker)
    Attempt.objects.update(log_path=f"{outside}/{way}")
    answer = Caller(make_key("read")).get(f"tasks/{task.task_id}/log")
    assert (answer.status_code, SECRET in answer.content.decode()) == (404, False)


@pytest.mark.parametrize("path", [
    "tasks/..%2f..%2f..%2fetc%2fpasswd/log",
    "tasks/%2e%2e%2f%2e%2e%2fetc/log",
    "pipeline/products/..%2f1/file",
    "pipeline/products/-1/file",
    "pipeline/products/99999999999999999999999999/file",
    "pipeline/sources/..%2f..%2fetc%2fpasswd/lightcurve.csv",
    "limits/key/..%2f..%2fetc%2fpasswd",
    "queues/..%2f..%2fstats",
    "/static/..%2f..%2f..%2fetc%2fpasswd",
    "/static/%2e%2e/%2e%2e/absurd_project/settings.py",
    "/static/../absurd_project/settings.py",
])  # fmt: skip
def test_an_address_that_climbs_leads_nowhere(path):
    answer = Caller(make_key("read")).get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.content.decode()


def test_a_file_name_cannot_write_headers(outside):
    path = outside / "data" / 'a"; filename="b.exe\r\nX-Injected: yes.png'
    path.write_bytes(b"x")
    fields = {"task_id": uuid4(), "attempt": 1, "task_name": "imaging", "kind": "image"}
    product = Product.objects.create(path=str(path), **fields)
    answer = Caller(make_key("read")).get(f"pipeline/products/{product.pk}/file")
    assert answer.status_code in (200, 404)
    assert "X-Injected" not in answer.headers
    assert "\n" not in answer.headers.get("Content-Disposition", "")
