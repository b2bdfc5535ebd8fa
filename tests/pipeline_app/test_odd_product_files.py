"""Products whose paths lead to what is no file: refused in words, and nobody blocked."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline_app.models import Product
from tasks_app.files import bounded_calls
from tests.tasks_app.callers import Caller, make_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(settings, tmp_path: Path) -> Path:
    settings.ABSURD_DATA_ROOTS = (tmp_path,)
    return tmp_path


def publish(path: Path, kind: str = "image") -> Product:
    return Product.objects.create(path=str(path), kind=kind, task_id=uuid4(), attempt=1, task_name="imaging")


@pytest.mark.parametrize("kind", ["image", "preview"])
def test_a_fifo_is_not_found_and_blocks_nobody(root, kind):
    os.mkfifo(root / "fifo")
    product = publish(root / "fifo", kind)
    api = Caller(make_key("read"))
    for last in ("file", "preview"):
        assert api.get(f"pipeline/products/{product.pk}/{last}").status_code == 404


def test_a_file_system_that_does_not_answer_is_503_with_a_remedy(root, monkeypatch):
    product = publish(root / "image.fits")
    monkeypatch.setattr(bounded_calls, "LIMIT_SEC", 0.05)
    answers = threading.Event()
    with pytest.raises(bounded_calls.FilesBusy):
        bounded_calls.in_time(root, answers.wait)
    try:
        answer = Caller(make_key("read")).get(f"pipeline/products/{product.pk}/file")
    finally:
        answers.set()
    assert (answer.status_code, answer.body["code"], answer["Retry-After"]) == (503, "files_busy", "30")
    assert "remount" in answer.body["remedy"]
