"""The form of a schedule, made from the params of the operation that saves it."""

from __future__ import annotations

from typing import Any

from django import forms

from tasks_app.admin.operation_form import add_faults, form_field
from tasks_app.engine import registry
from tasks_app.errors import ParamsInvalid, UnknownTaskName
from tasks_app.models import Queue, Schedule
from tasks_app.operations.param_fields import fields_of
from tasks_app.operations.schedules import FIELDS, SaveScheduleParams, check


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """What is spawned, when, and why it is so."""

    class Meta:
        model = Schedule
        fields = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = registry.names()
        # One that is registered no longer must be seen to be changed.
        unknown = [self.instance.task_name] if self.instance.task_name not in ("", *known) else []
        tasks = [(name, name) for name in known] + [(name, f"{name} (unknown)") for name in unknown]
        queues = sorted({*Queue.objects.values_list("name", flat=True), self.instance.queue_name} - {""})
        choices = {"task_name": tasks, "queue_name": [(name, name) for name in queues]}
        for param in fields_of(SaveScheduleParams):
            self.fields[param.name] = form_field(param, choices.get(param.name))
        self.initial.update({name: getattr(self.instance, name) for name in FIELDS})

    def clean(self) -> dict[str, Any]:
        """Check the schedule as a whole, once each field is right by itself."""
        given = super().clean() or {}
        if self.errors:
            return given
        try:
            self.params = SaveScheduleParams.parse(
                {name: given[name] for name in (*FIELDS, "reason") if given[name] not in (None, "")}
            )
            check(Schedule(name=given.get("name", self.instance.name), **self.params.model_dump(exclude={"reason"})))
        except UnknownTaskName as error:
            self.add_error("task_name", str(error))
        except ParamsInvalid as error:
            add_faults(self, error)
        return given
