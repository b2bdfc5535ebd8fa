"""The form of an operation, made from its params."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from tasks_app import cleaning
from tasks_app.errors import ParamsInvalid
from tasks_app.operations.operation import Operation, ParamField, Params, fields_of

Choices = Sequence[tuple[str, str]]


class ObjectField(forms.JSONField):
    """A JSON object."""

    widget = forms.Textarea(attrs={"rows": 12, "cols": 80})

    def clean(self, value: Any) -> Any:
        found = super().clean(value)
        if found is not None and not isinstance(found, dict):
            raise forms.ValidationError("write an object, such as {}")
        try:
            if cleaning.json_value(found, "it") != found:
                raise cleaning.Unstorable("contains a NUL character or half a surrogate pair; remove it")
        except cleaning.Unstorable as error:
            raise forms.ValidationError(str(error)) from None
        return {} if found is None else found


class OperationForm(forms.Form):
    """Asks for the params of an operation; in the console always for a reason."""

    def __init__(
        self,
        operation: Operation[Any, Any],
        data: Mapping[str, Any] | None = None,
        *,
        initial: Mapping[str, Any] | None = None,
        choices: Mapping[str, Choices] | None = None,
    ) -> None:
        super().__init__(data, initial=dict(initial or {}))
        self._operation = operation
        for param in fields_of(operation.params_model):
            self.fields[param.name] = form_field(param, (choices or {}).get(param.name))

    def given(self) -> dict[str, Any]:
        """Return the params that were given, each right by itself; none before anything was sent."""
        cleaned = self.cleaned_data if self.is_bound else {}
        return {name: value for name, value in cleaned.items() if value not in (None, "")}

    @property
    def may_be_previewed(self) -> bool:
        """Whether nothing but the reason is missing or wrong."""
        return not self.is_bound or not set(self.errors) - {"reason"}

    def leave_reason_out(self) -> None:
        """Have a form that was sent for a preview not complain about its reason."""
        self.errors.pop("reason", None)

    def params(self) -> Params:
        """Return the params of a valid form."""
        found: Params = self._operation.params_model.parse(self.given())
        return found

    def clean(self) -> dict[str, Any]:
        """Check the params together, each fault beside its field."""
        super().clean()
        if not self.errors:
            try:
                self.params()
            except ParamsInvalid as error:
                self.add_faults(error)
        return self.cleaned_data

    def add_faults(self, error: ParamsInvalid) -> None:
        """Put each fault beside its field."""
        add_faults(self, error)


def add_faults(form: forms.BaseForm, error: ParamsInvalid) -> None:
    """Put each fault beside its field."""
    for problem in error.problems:
        field, _, rest = str(problem["path"]).partition(".")
        message = f"{rest}: {problem['message']}" if rest else problem["message"]
        if field in form.fields:
            form.add_error(field, message)
        else:
            form.add_error(None, f"{problem['path']}: {problem['message']}")


def form_field(param: ParamField, choices: Choices | None = None) -> forms.Field:
    """Return the field of one param; the browser knows its bounds, and its model refuses in the words of the API."""
    about: dict[str, Any] = {"help_text": param.description, "required": param.required}
    if param.name == "reason":
        widget = forms.TextInput(attrs={"size": 60, "autofocus": True})
        return forms.CharField(max_length=param.maximum, widget=widget)
    if choices or param.choices:
        return forms.ChoiceField(choices=choices or [(each, each) for each in param.choices], **about)
    if param.kind == "flag":
        return forms.BooleanField(**{**about, "required": False})
    if param.kind == "number":
        return forms.IntegerField(widget=forms.NumberInput({"min": param.minimum, "max": param.maximum}), **about)
    if param.kind == "object":
        return ObjectField(**about)
    return forms.CharField(widget=forms.TextInput({"maxlength": param.maximum}), **about)
