"""Every variable of the environment, as the settings read it."""

from __future__ import annotations

from pathlib import Path

from absurd_project import env, variables
from absurd_project.reference import markdown
from tasks_app.defaults import GROUPS, OWN, THROTTLES, Setting
from tasks_app.monitoring.thresholds import THRESHOLDS

INTRODUCTION = """
Each process reads them from its environment when it starts. A bad value is refused by name; a variable that begins
with `ABSURD_` and that nothing reads is a warning of `manage.py check` and in the log, with the nearest name that is
read.
"""
FILES = "Each of {names} may instead be the first line of a file, which the same name with `_FILE` at its end names."
OWN_SITE = """
These, and the first tables save for what only this project has, are settings of Django under the same names. This
project sets them itself, so no variable changes them. A list is written as a tuple, a path as a `Path`.
"""


def page() -> str:
    """Return the page."""
    parts = [
        " ".join(INTRODUCTION.split()),
        FILES.format(names=", ".join(f"`{name}`" for name in sorted(env.FROM_FILES))),
    ]
    for group, settings in variables.DESCRIBED.items():
        if group != OWN:
            parts += [
                f"## {group}",
                markdown.table(("variable", "default", ""), map(_row, settings)),
            ]
    parts += ["## Thresholds of health", "Parts of `ABSURD_HEALTH`.", _numbers("threshold", THRESHOLDS)]
    parts += ["## Limits of requests", "Parts of `ABSURD_THROTTLE`, for each minute.", _numbers("limit", THROTTLES)]
    others = [(f"`{each.name}`", f"`{_written(each.default)}`", markdown.text(each.meaning)) for each in GROUPS[OWN]]
    parts += [f"## {OWN}", " ".join(OWN_SITE.split()), markdown.table(("setting", "default", ""), others)]
    return markdown.page("Settings", *parts)


def _row(setting: Setting) -> tuple[str, ...]:
    read = variables.READ[setting.name]
    meaning = f"{markdown.text(setting.meaning)}. *{markdown.text(read.kind)}; read by {setting.process}*"
    return f"`{setting.name}`", markdown.text(read.default), meaning


def _numbers(head: str, numbers: dict[str, tuple[float, str]]) -> str:
    rows = [(f"`{name}`", f"{default:g}", markdown.text(meaning)) for name, (default, meaning) in numbers.items()]
    return markdown.table((head, "default", ""), rows)


def _written(value: object) -> str:
    return repr(str(value)) if isinstance(value, Path) else repr(value)
