"""Edits by two people at once: a form carries a mark of what it showed, and the second who saves sees an error."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from django import forms
from django.db.models import Model

FIELD = "seen"
"""The hidden field with the mark."""


def mark_of(values: Mapping[str, Any]) -> str:
    """Return a mark that differs where the values differ."""
    written = sorted((name, _written(value)) for name, value in values.items())
    return hashlib.sha256(repr(written).encode()).hexdigest()[:16]


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return repr(sorted(map(_written, value)))
    return str(value.pk if isinstance(value, Model) else value)


def conflict(form: forms.BaseForm, present: Mapping[str, Any]) -> str:
    """Return what is to be said when the row no longer has the values that the form showed; empty when it has."""
    if form.data.get(FIELD, "") in ("", mark_of(present)):
        return ""
    differing = {name: _written(present[name]) or "nothing" for name in form.changed_data if name in present}
    now = ", ".join(f"{name.replace('_', ' ')} is {value}" for name, value in differing.items())
    return (
        "Another person changed this after the page was opened, so nothing was saved. "
        f"Below is what you sent; now {now or 'it has the same values'}. Send it again to replace that."
    )


def guarded(form: type[forms.ModelForm[Any]]) -> type[forms.ModelForm[Any]]:
    """Return the form of a row such that it refuses to replace what another person has saved meanwhile."""

    class Guarded(form):  # type: ignore[misc,valid-type]
        @property
        def seen_mark(self) -> str:
            """The mark of what the row is now."""
            return mark_of(self.initial)

        def clean(self) -> dict[str, Any]:
            given: dict[str, Any] = super().clean() or self.cleaned_data
            if text := conflict(self, self.initial):
                self.add_error(None, text)
            return given

    return Guarded
