"""The catalogue of screens is complete: what has no picture there has a reason."""

from __future__ import annotations

import re
from pathlib import Path

from django.urls import get_resolver

from tests.browser.screens import LIKE_ANOTHER, NO_PAGE, REFUSALS, SCREENS

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "img"
PICTURE_BYTES_MOST = 250_000


def test_every_page_of_the_console_has_a_screen_looks_like_one_or_is_none():
    views = {name for name in get_resolver().namespace_dict["admin"][1].reverse_dict if isinstance(name, str)}
    shown = {screen.view.removeprefix("admin:") for screen in SCREENS.values()}
    assert shown - views <= {"absurd_api:docs", "absurd_api:redoc"}
    patterns = [*LIKE_ANOTHER, *NO_PAGE]
    assert set(LIKE_ANOTHER.values()) <= set(SCREENS)
    assert [view for view in sorted(views - shown) if not any(re.fullmatch(each, view) for each in patterns)] == []
    assert [each for each in patterns if not any(re.fullmatch(each, view) for view in views)] == []


def test_the_pictures_kept_are_of_screens_and_small():
    kept = list(PICTURES.glob("*.png"))
    assert {path.stem for path in kept} <= {*SCREENS, *REFUSALS}
    assert [path.name for path in kept if path.stat().st_size > PICTURE_BYTES_MOST] == []
