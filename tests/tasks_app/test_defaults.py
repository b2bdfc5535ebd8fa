"""The settings of the queue: each has a default, so that another site need set none."""

from __future__ import annotations

import re
from pathlib import Path

from tasks_app import defaults
from tasks_app.apps import check_database

ROOT = Path(__file__).resolve().parents[2]
USED = re.compile(r"\bsettings\.(ABSURD_\w+)")


def test_every_setting_that_is_used_has_a_default():
    used = {
        name
        for application in ("tasks_app", "workers")
        for path in (ROOT / application).rglob("*.py")
        for name in USED.findall(path.read_text())
    }
    assert len(used) > 30
    assert {name for name in used if name not in defaults.BY_NAME} == set()


def test_a_setting_that_the_site_lacks_gets_its_default_and_others_stay(settings):
    settings.ABSURD_TASK_TIMEOUT = 5
    del settings.ABSURD_MAX_RETRIES
    defaults.apply()
    assert defaults.BY_NAME["ABSURD_MAX_RETRIES"].default == settings.ABSURD_MAX_RETRIES
    assert settings.ABSURD_TASK_TIMEOUT == 5


def test_another_engine_is_refused_with_the_one_to_use(settings, monkeypatch):
    assert check_database() == []
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    (fault,) = check_database()
    assert (fault.id, 'ENGINE"] = "tasks_app.postgresql"' in fault.hint) == ("tasks_app.E002", True)
