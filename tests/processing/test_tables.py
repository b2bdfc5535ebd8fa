"""The report for people, whatever stands in it."""

from __future__ import annotations

import io
from typing import Any

from absurd_project.processing.progress import PlainDisplay, Step
from absurd_project.processing.report import print_report

TRAP = "S[/b]\x1b]0;PWN\x07\u202e"


def a_report() -> dict[str, Any]:
    task = {
        "observation": TRAP,
        "task_name": TRAP,
        "status": "failed",
        "verdict": None,
        "duration_sec": 1.0,
        "peak_rss_bytes": 1,
    }
    measured = dict.fromkeys(("ra_deg", "dec_deg", "flux_jy", "flux_err_jy", "snr"), 1.0)
    return {
        "ok": False,
        "tasks_ok": False,
        "science_ok": False,
        "trouble": TRAP,
        "failed_verdicts": [TRAP],
        "observations": [{"name": TRAP, "role": "target"}],
        "tasks": [task | {"error": TRAP, "reasons": [], "peak_rss_bytes": 1}],
        "measurements": [
            measured
            | {"name": TRAP, "observation": TRAP, "catalog_flux_jy": None, "offset_arcsec": None, "verdict": TRAP}
        ],
        "products": [{"kind": "image", "path": TRAP}],
        "problems": [{"path": TRAP + "\udcff", "problem": TRAP}],
    }


def test_names_with_markup_and_control_characters_are_shown_as_they_are():
    screen = io.StringIO()
    print_report(a_report(), screen)
    shown = screen.getvalue()
    assert "S[/b]\\u001b]0;PWN\\u0007\\u202e" in shown
    assert not set(shown) & set("\x1b\x07\u202e\udcff")


class NobodyReads(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_screen_that_is_gone_stops_neither_progress_nor_the_report():
    display = PlainDisplay(NobodyReads())
    display.start([Step(task_id=None, tile="t", stage="s")])  # type: ignore[arg-type]
    display.print("a line")
    print_report(a_report(), NobodyReads())
