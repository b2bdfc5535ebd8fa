"""An attempt's log keeps its head and its tail, however much is printed, and goes when it is old."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from tests.workers.live import attempts, finished, spawn_one, wait_for
from workers import cleanup
from workers.process import bounded_log, publication
from workers.process.bounded_log import BoundedLog

pytestmark = pytest.mark.chaos
MB = 1 << 20
LAST = (300 << 14) - 1
LINE = re.compile(r"line +(\d+) \.{47}")
LEFT_OUT = re.compile(r"\n\[… (\d+) bytes of this log were left out here …\]\n")


def numbers(text: str) -> list[int]:
    return [int(number) for number in LINE.findall(text)]


def test_of_three_hundred_megabytes_printed_fast_the_two_ends_are_kept(workers):
    task = spawn_one("chatter", {"print_mb": 300, "then_sleep_sec": 8})
    workers.start(ABSURD_LOG_MAX_MB="8")
    (attempt,) = wait_for(lambda: [each for each in attempts(task) if each.log_path])
    log, held = Path(attempt.log_path), []

    def printed() -> bool:
        held.append(log.stat().st_blocks * 512 if log.exists() else 0)
        return publication.log_tail(log).endswith(f"line {LAST:10d} {'.' * 47}")

    wait_for(printed)
    wait_for(lambda: log.stat().st_blocks * 512 < 9 * MB)
    assert log.stat().st_size >= 300 * MB  # offsets stay what they are while it is written
    assert attempts(task)[0].ended_at is None
    assert max(held) < 150 * MB
    assert finished(task).status == "completed"
    text = log.read_text()
    assert len(text) < 8.5 * MB and "\0" not in text
    (left_out,) = LEFT_OUT.findall(text)
    head, tail = (numbers(part) for part in (text[: len(text) // 2], text[len(text) // 2 :]))
    kept = numbers(text)
    assert kept == sorted(kept) and (kept[0], kept[-1]) == (0, LAST)
    assert len(head) > 60_000 and len(tail) > 60_000
    assert abs(int(left_out) + len(text.encode()) - 300 * MB) < 10_000


@pytest.mark.parametrize("holes", [pytest.param(True, id="holes"), pytest.param(False, id="no holes")])
def test_nothing_is_lost_at_the_ends_and_the_missing_bytes_are_counted(tmp_path, monkeypatch, holes):
    if not holes:
        monkeypatch.setattr(BoundedLog, "_punch", lambda self, end: False)
    path = tmp_path / "log"
    fd = publication.open_log(path)
    log = BoundedLog(fd, MB)
    written = 0
    for number in range(60_000):
        written += os.write(fd, f"line {number:10d} {'.' * 47}\n".encode())
        if number % 500 == 0:
            log.trim()
            assert path.stat().st_blocks * 512 < 1.3 * MB
    log.finish()
    os.close(fd)
    text = path.read_text()
    assert len(text) < 1.1 * MB and "\0" not in text
    kept = numbers(text)
    assert kept == sorted(set(kept)) and (kept[0], kept[-1]) == (0, 59_999)
    (left_out,) = LEFT_OUT.findall(text)
    marker = LEFT_OUT.search(text).group().encode()
    assert int(left_out) + len(text.encode()) - len(marker) == written


def test_a_short_log_is_left_alone(tmp_path):
    path = tmp_path / "log"
    fd = publication.open_log(path)
    log = BoundedLog(fd, MB)
    os.write(fd, b"x" * (MB - 1))
    log.trim()
    log.finish()
    os.close(fd)
    assert path.read_bytes() == b"x" * (MB - 1)
    assert bounded_log.STEP_BYTES < MB


def test_old_logs_go_with_their_directories(tmp_path, settings):
    settings.ABSURD_VAR, settings.ABSURD_LOG_DAYS = tmp_path, 30
    old, young = (tmp_path / "log" / "attempts" / name / "1.log" for name in ("old", "young"))
    for log in (old, young):
        log.parent.mkdir(parents=True)
        log.write_text("said")
    os.utime(old, (time.time() - 31 * 86_400,) * 2)
    assert cleanup.sweep_state() == 1
    assert not old.parent.exists() and young.exists()
