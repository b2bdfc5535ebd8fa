"""The form of a schedule: checked as the actions check it, each fault beside its field."""

from __future__ import annotations

from typing import Any

from django import forms

from tasks_app.engine import registry
from tasks_app.errors import ParamsInvalid, UnknownTaskName
from tasks_app.models import Schedule
from tasks_app.operations.schedules import FIELDS, check


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """What is spawned, when, and why it is so."""

    task_name = forms.ChoiceField()
    reason = forms.CharField(
        max_length=2000, widget=forms.TextInput(attrs={"size": 60}), help_text="Why it is created or changed."
    )

    class Meta:
        model = Schedule
        fields = ("name", *FIELDS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = registry.names()
        # One that is registered no longer must be seen to be changed.
        unknown = [self.instance.task_name] if self.instance.task_name not in ("", *known) else []
        field: Any = self.fields["task_name"]
        field.choices = [(name, name) for name in known] + [(name, f"{name} (unknown)") for name in unknown]

    def clean(self) -> dict[str, Any]:
        """Check the schedule as a whole, once each field is right by itself."""
        given = super().clean() or {}
        if self.errors:
            return given
        wanted = Schedule(name=given.get("name", self.instance.name), **{name: given[name] for name in FIELDS})
        try:
            check(wanted)
        except UnknownTaskName as error:
            self.add_error("task_name", str(error))
        except ParamsInvalid as error:
            for problem in error.problems:
                field, _, rest = problem["path"].partition(".")
                self.add_error(field, f"{rest}: {problem['message']}" if rest else problem["message"])
        return given
