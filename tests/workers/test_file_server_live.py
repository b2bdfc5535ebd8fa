"""A worker serves the logs and products of its host to those who have the key, and nothing else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from pipeline_app import fits_stamp
from pipeline_app.admin import calibrations, product_files
from pipeline_app.calibration_summary import SUMMARY_NAME
from pipeline_app.fits_stamp import StampRequest
from pipeline_app.models import Calibration, Product
from tasks_app.feed import other_hosts
from tasks_app.files import remote
from tasks_app.models import Attempt, Worker
from tests.daphne_server import free_port
from tests.pipeline_app.console_rows import make_summary, position_of, write_image
from tests.tasks_app.callers import Caller, console_client, make_key
from tests.tasks_app.management.commands import output_of
from tests.workers.live import attempts, finished, spawn_one, wait_for

KEY = "a secret of all hosts, which is long"
CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def served(workers, tmp_path, settings) -> Path:
    """Run a worker that serves files, as another host would, and return its data root; this host sees none of it."""
    address = f"127.0.0.1:{free_port()}"
    worker = workers.start(ABSURD_FILES_BIND=address, ABSURD_FILES_KEY=KEY)
    wait_for(lambda: worker.poll() is None and Worker.objects.filter(files_address=address).exists())
    Worker.objects.update(host="far")
    here = tmp_path / "here"
    here.mkdir()
    settings.ABSURD_VAR, settings.ABSURD_DATA_ROOTS, settings.ABSURD_FILES_KEY = here, (here,), KEY
    return workers.data


def reason(path: object, host: str = "far") -> str:
    """Return why a file of another host cannot be had."""
    with pytest.raises(remote.NotFetched) as caught:
        other_hosts.open_file(host, str(path)).close()
    return str(caught.value)


def published(root: Path) -> Path:
    """Write a product where an attempt publishes it."""
    directory = root / "imaging" / "tile.0123abcd"
    directory.mkdir(parents=True)
    (directory / "image.fits").write_bytes(CONTENT)
    return directory / "image.fits"


def product_of(path: Path, **fields: str) -> Product:
    task = spawn_one("echo")
    made = {"kind": "image", "host": "far", "root": str(path.parents[2]), **fields}
    return Product.objects.create(path=str(path), task_id=task.task_id, attempt=1, task_name="imaging", **made)


def test_logs_of_another_host_are_sent_whole_in_part_and_as_they_grow(served):
    task = finished(spawn_one("chatter", {"reports": 20}))
    (attempt,) = attempts(task)
    content = Path(attempt.log_path).read_bytes()
    api = Caller(make_key("read"))
    whole = api.get(f"tasks/{task.task_id}/log")
    assert (whole.status_code, whole.content, whole["X-Absurd-Log-Host"]) == (200, content, "far")
    assert content and "X-Absurd-Log-Kept" not in whole.headers
    part = api.get(f"tasks/{task.task_id}/log", Range="bytes=2-5")
    assert (part.status_code, part.content) == (206, content[2:6])
    assert api.get(f"tasks/{task.task_id}/log?tail=1").content == content.splitlines(keepends=True)[-1]
    assert api.get(f"tasks/{task.task_id}/log", Range=f"bytes={len(content)}-").status_code == 416
    assert output_of("absurd_tasks", "logs", task.task_id, "--follow").encode() == content
    followed = api.get(f"tasks/{task.task_id}/log?follow=true&offset=3")

    async def collect() -> bytes:
        return b"".join([bytes(part) async for part in followed.streaming_content])

    assert asyncio.run(collect()) == content[3:]


def test_products_of_another_host_are_sent_in_the_api_and_in_the_console(served):
    product = product_of(published(served))
    api = Caller(make_key("read"))
    whole = api.get(f"pipeline/products/{product.pk}/file")
    body = b"".join(asyncio.run(_collect(whole))) if whole.streaming else whole.content
    assert (whole.status_code, body, whole["Content-Type"]) == (200, CONTENT, "application/fits")
    part = api.get(f"pipeline/products/{product.pk}/file", Range="bytes=300-309")
    assert (part.status_code, part.content) == (206, CONTENT[300:310])
    assert part["Content-Range"] == f"bytes 300-309/{len(CONTENT)}"
    address = f"/admin/pipeline_app/product/{product.pk}/file/"
    assert (product_files.found(product).is_file, product_files.found(product).problem) == (True, "")
    assert console_client().get(address).status_code == 200


def test_stamps_and_solutions_of_another_host_are_shown_in_the_console(served):
    image = product_of(published(served))
    Path(image.path).unlink()
    write_image(Path(image.path), {"S02": 0.3})
    ra_deg, dec_deg = position_of("S02")
    asked = f"ra={ra_deg}&dec={dec_deg}&arcmin=2&low=0&high=0.3"
    stamp = console_client().get(f"/admin/pipeline_app/product/{image.pk}/stamp/?{asked}")
    assert (stamp.status_code, stamp["Content-Type"]) == (200, "image/png")
    with Path(image.path).open("rb") as file:
        values = StampRequest(ra_deg=ra_deg, dec_deg=dec_deg, size_arcmin=2, low_jy=0, high_jy=0.3)
        assert stamp.content == fits_stamp.stamp(file, values)
    tables = Path(image.path).with_name("tile.cal")
    tables.mkdir()
    calibration = Calibration(path=str(product_of(tables, kind="calibration").path))
    assert "is not there any more" in calibrations.solutions_of(calibration).problem
    (tables / SUMMARY_NAME).write_text(make_summary().model_dump_json())
    assert calibrations.solutions_of(calibration).summary == make_summary()


async def _collect(answer) -> list[bytes]:
    return [bytes(part) async for part in answer.streaming_content]


def test_only_logs_and_published_files_are_served(served, workers, tmp_path):
    path = published(served)
    secret = tmp_path / "var" / "secret_key"
    secret.write_text("hunter2")
    raw = served / "raw.hdf5"
    raw.write_text("raw")
    deep = served / "incoming" / "night" / "raw.hdf5"
    deep.parent.mkdir(parents=True)
    deep.write_text("raw")
    link = path.with_name("link.fits")
    link.symlink_to(secret)
    (path.parent / "tile.ms").mkdir()
    assert "is a directory" in reason(path.parent / "tile.ms")
    out = f"{path.parent}/../../../var/secret_key"
    for each in (secret, raw, deep, link, path.parent, "/etc/hostname", out, path.with_name("x")):
        assert "is not there any more, or is not a file of an attempt" in reason(each), each
    with other_hosts.open_file("far", str(path)) as file:
        assert file.read() == CONTENT


def test_a_signature_is_for_one_address_one_path_and_a_minute(served, settings):
    path, now = published(served), time.time()
    address = Worker.objects.get().files_address
    target = remote.target_of(str(path))

    def status(signature: str) -> int:
        return httpx.get(f"http://{address}{target}", headers={remote.SIGNATURE: signature}, timeout=60).status_code

    good = remote.sign(KEY, address, target, now)
    assert status(good) == 200
    bad = [
        *("", "x", f"{good}0", good.replace(".", "1.", 1)),
        remote.sign(KEY[:-1], address, target, now),
        remote.sign(KEY, "10.0.0.9:8001", target, now),
        remote.sign(KEY, address, f"{target}x", now),
        remote.sign(KEY, address, target, now - 2 * remote.VALID_SEC),
        remote.sign(KEY, address, target, now + 2 * remote.VALID_SEC),
    ]
    assert [status(each) for each in bad] == [401] * len(bad)
    settings.ABSURD_FILES_KEY = "x" * 40
    assert "refuses the signature" in reason(path)


def test_it_says_which_host_has_a_file_and_why_it_cannot_be_had(served, settings, workers):
    product = product_of(published(served))
    (worker,) = workers.started
    task = finished(spawn_one("fail"))
    settings.ABSURD_FILES_KEY = ""
    assert "it is on host far" in reason(product.path) and "ABSURD_FILES_KEY is not set" in reason(product.path)
    settings.ABSURD_FILES_KEY = KEY
    worker.kill()
    worker.wait()
    assert "does not answer" in reason(product.path)
    kept = Caller(make_key("read")).get(f"tasks/{task.task_id}/attempts/1/log")
    assert (kept.status_code, kept["X-Absurd-Log-Kept"], kept["X-Absurd-Log-Host"]) == (200, "tail", "far")
    assert "it is on host far" in kept["X-Absurd-Log-Reason"]
    Worker.objects.update(files_address="")
    assert "serve no files" in reason(product.path)
    Worker.objects.update(heartbeat_at="2026-01-01T00:00:00Z")
    assert "no worker reports" in reason(product.path)
    assert Attempt.objects.filter(task_id=task.task_id).exists()
    answer = Caller(make_key("read")).get(f"pipeline/products/{product.pk}/file")
    assert answer.status_code == 404 and "it is on host far, and no worker reports" in answer.body["detail"]
