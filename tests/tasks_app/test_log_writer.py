"""Logging into a pipe that nobody reads."""

from __future__ import annotations

import logging
import os
import re
import threading

import pytest

from tasks_app.log_writer import BackgroundHandler


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.fixture
def pipe():
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        os.close(fd)


def logger_on(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger


def read_until(fd: int, end: str) -> str:
    text = ""
    while end not in text:
        text += os.read(fd, 1 << 16).decode()
    return text


def test_a_full_pipe_holds_up_nobody_and_what_was_dropped_is_counted_and_told(pipe):
    read_fd, write_fd = pipe
    handler = BackgroundHandler(write_fd, lines_most=50)
    logger = logger_on(handler)
    for number in range(1000):
        logger.warning("%d %s", number, "x" * 1000)
    assert handler.dropped > 500
    text = ""
    while sum(map(int, re.findall(r"(\d+) log lines were dropped here", text))) < handler.dropped:
        text += read_until(read_fd, "dropped here")
    assert text.startswith("0 xxx")
    logger.warning("read again")
    assert read_until(read_fd, "read again\n").endswith("read again\n")


def test_it_writes_what_cannot_be_formatted_or_encoded_and_bounds_each_line(pipe):
    read_fd, write_fd = pipe
    handler = BackgroundHandler(write_fd)
    logger = logger_on(handler)
    logger.warning("%s", Unprintable())
    logger.warning("a lone \udcff surrogate")
    logger.warning("%s", "y" * 100_000)
    text = read_until(read_fd, "y\n")
    assert "cannot be formatted: ValueError" in text and r"a lone \udcff surrogate" in text and len(text) < 40_000
    handler.flush()


def test_a_closed_descriptor_and_a_fork_are_survived(pipe):
    handler = BackgroundHandler(os.dup(pipe[1]))
    logger = logger_on(handler)
    os.close(handler._fd)
    logger.warning("into nothing")
    handler.flush()
    assert handler.dropped == 1
    pid = os.fork()
    if pid == 0:
        before = threading.active_count()
        handler._fd = pipe[1]
        logger.warning("from the child")
        handler.flush()
        os._exit(0 if before == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.read(pipe[0], 100) == b"from the child\n"
