"""Form fields for the options of a new task, made from their one description."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django import forms

from tasks_app.engine.options import TaskOptions
from tasks_app.validation import bounds_of, kinds_of


class ObjectField(forms.JSONField):
    """A JSON object."""

    widget = forms.Textarea(attrs={"rows": 12, "cols": 80})

    def clean(self, value: Any) -> Any:
        found = super().clean(value)
        if found is not None and not isinstance(found, dict):
            raise forms.ValidationError("write an object, such as {}")
        return {} if found is None else found


def form_fields(names: Collection[str], model: type[TaskOptions] = TaskOptions) -> dict[str, forms.Field]:
    """Return a field for each of the named options."""
    return {name: _field(name, model) for name in names}


def _field(name: str, model: type[TaskOptions]) -> forms.Field:
    field = model.model_fields[name]
    kinds, (least, most) = kinds_of(field.annotation), bounds_of(field)
    said: dict[str, Any] = {"required": False, "help_text": field.description}
    if dict in kinds:
        return ObjectField(**said)
    if int in kinds or float in kinds:
        said |= {"min_value": least, "max_value": most}
        if type(None) not in kinds:
            said["required"] = True
        return (forms.IntegerField if int in kinds else forms.FloatField)(**said)
    return forms.CharField(max_length=most, **said)
