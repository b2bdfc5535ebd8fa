from __future__ import annotations

import io
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from absurd_project.processing.progress import Change, LiveDisplay, PlainDisplay, Step, display_for

IMAGING, SOLVE = uuid4(), uuid4()


def steps() -> list[Step]:
    return [
        Step(task_id=SOLVE, tile="2026-10-01T06:00:00", stage="calibration-solve"),
        Step(task_id=IMAGING, tile="2026-10-01T06:00:00", stage="imaging"),
    ]


def change(status: str, task_id: UUID = IMAGING, **update: object) -> Change:
    return Change(task_id=task_id, status=status, update=dict(update))


COURSE = [
    change("claimed", claimed_at="2026-11-24T02:00:00.000000Z", worker_id="worker-1"),
    change("claimed", progress=0.4, progress_message="cleaning"),
    change("completed", completed_at="2026-11-24T02:00:12.500000Z"),
]


@pytest.mark.parametrize("course", [COURSE, COURSE[:1] + COURSE[2:]])
def test_plain_lines_show_claim_and_end_with_the_time_it_took(course):
    screen = io.StringIO()
    display = PlainDisplay(screen)
    display.start(steps())
    display.apply(course)
    lines = screen.getvalue().splitlines()
    assert "2026-10-01T06:00:00  imaging             claimed by worker-1" in lines[0]
    assert lines[-1].endswith("completed in 12.5 s")


def test_plain_lines_show_failures_and_new_tries():
    screen = io.StringIO()
    display = PlainDisplay(screen)
    display.start(steps())
    display.apply(
        [
            COURSE[0],
            change("pending", error="out of memory", failure_class="memory"),
            COURSE[0],
            change("failed", error="no such file\nmore", failure_class="invalid"),
        ]
    )
    text = screen.getvalue()
    assert "pending retried after memory" in text
    assert "failed invalid: no such file\n" in text and "more" not in text


def test_a_running_stage_does_not_flood_plain_lines():
    screen = io.StringIO()
    display = PlainDisplay(screen)
    display.start(steps())
    display.apply([COURSE[0], *(change("claimed", progress=n / 100, progress_message=f"{n}") for n in range(100))])
    assert len(screen.getvalue().splitlines()) == 1


def test_changes_of_other_tasks_are_not_shown():
    screen = io.StringIO()
    display = PlainDisplay(screen)
    display.start(steps())
    display.apply([change("claimed", uuid4())])
    assert screen.getvalue() == ""


def test_a_terminal_gets_a_table_of_tiles_and_stages():
    screen = io.StringIO()
    display = LiveDisplay(Console(file=screen, force_terminal=True, width=120))
    display.start(steps())
    display.apply([*COURSE[:2], change("failed", SOLVE, error="refused", failure_class="invalid")])
    display.stop()
    text = screen.getvalue()
    for part in ("2026-10-01T06:00:00", "solve", "imaging", "40%", "failed"):
        assert part in text


def test_plain_lines_are_for_streams_that_are_no_terminal():
    assert isinstance(display_for(io.StringIO()), PlainDisplay)
