"""Forms made from models: of an operation's params, and of a new task's options and params."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from pydantic import BaseModel

from tasks_app import cleaning
from tasks_app.admin.display import BANDS
from tasks_app.engine import registry
from tasks_app.engine.options import PARTS
from tasks_app.errors import ParamsInvalid
from tasks_app.operations.param_fields import ParamField, ParamKind, fields_of
from tasks_app.validation import PRIORITY_DEFAULT, PRIORITY_MOST, shown

Choices = Sequence[tuple[str, Any]]
PREFIX = "params."
"""What the names of a task's own params begin with in a form."""
ROWS_MOST = 18
OF_PAGES = frozenset(
    {"csrfmiddlewaretoken", "confirmed", "look", "token", "typed", "expected", "next", "action", "select_across"}
    | {"index", "seen", ACTION_CHECKBOX_NAME}
)
"""What pages send beside the fields of a form."""


class _Decoder(json.JSONDecoder):
    """Reports what Python cannot hold, such as 1,000 levels or a number of 5,000 digits, as JSON that is not valid."""

    def decode(self, s: str, *args: Any) -> Any:
        try:
            return super().decode(s, *args)
        except (ValueError, RecursionError) as error:
            raise json.JSONDecodeError(str(error), s, 0) from None


class JSONText(forms.JSONField):
    """A value written as JSON."""

    wanted: Any = object
    example = "a number, true, false, null, a text in quotes, a list or an object"

    def __init__(self, **about: Any) -> None:
        super().__init__(decoder=_Decoder, widget=forms.Textarea(attrs={"cols": 80, "spellcheck": "false"}), **about)
        self.error_messages["invalid"] = f"is no JSON; write {self.example}"

    def prepare_value(self, value: Any) -> Any:
        """Write a list an entry a line, and let the box be as high as its text."""
        if value is not None and not isinstance(value, str):
            value = json.dumps(value, indent=2, ensure_ascii=False)
        self.widget.attrs["rows"] = min(ROWS_MOST, max(3, str(value or "").count("\n") + 2))
        return value

    def clean(self, value: Any) -> Any:
        found = super().clean(value)
        if found is not None and not isinstance(found, self.wanted):
            raise forms.ValidationError(f"write {self.example}")
        try:
            if cleaning.json_value(found, "it") != found:
                raise cleaning.Unstorable("contains a NUL character or half a surrogate pair; remove it")
        except cleaning.Unstorable as error:
            raise forms.ValidationError(str(error)) from None
        return found


class ObjectField(JSONText):
    """A JSON object."""

    wanted, example = dict, "an object, such as {}"


class ListField(JSONText):
    """A JSON list."""

    wanted, example = list, 'a list, such as ["a", "b"]'


class IdsField(ListField):
    """A JSON list of ids."""

    def __init__(self, entries: str, **about: Any) -> None:
        self.example = f'a list of {entries}, such as ["01a2…"]'
        super().__init__(**about)


class MomentField(forms.CharField):
    """A moment, in UTC where it names no time zone; its model checks the rest."""

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        try:
            has_zone = datetime.fromisoformat(text).tzinfo is not None
        except ValueError:
            return text
        return text if has_zone else f"{text}Z" if ":" in text else f"{text[:10]}T00:00Z"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Fields of a form that stand together."""

    title: str
    fields: Sequence[forms.BoundField]
    is_open: bool = True
    """Whether it is seen before somebody opens it."""


class ParamsForm(forms.Form):
    """Asks for the fields of a model; in the console always for a reason, where it has one.

    With the spec of a task name there is a field for each of the task's params in the place of `params`.
    """

    def __init__(
        self,
        model: type[BaseModel],
        data: Mapping[str, Any] | None = None,
        *,
        initial: Mapping[str, Any] | None = None,
        choices: Mapping[str, Choices] | None = None,
        spec: registry.TaskSpec | None = None,
    ) -> None:
        initial = dict(initial or {})
        self._old_params: Mapping[str, Any] = initial.get("params") or {}
        super().__init__(data, initial={**initial, **{PREFIX + name: each for name, each in self._old_params.items()}})
        self._model, self._spec = model, spec
        params = fields_of(spec.params_model) if spec else []
        self._by_param = spec is not None and self._old_params.keys() <= {param.name for param in params}
        for field in fields_of(model):
            if field.name == "params" and self._by_param:
                self.fields |= {PREFIX + param.name: form_field(param, of_task=True) for param in params}
            elif not (field.name == "task_name" and spec):
                self.fields[field.name] = form_field(field, (choices or {}).get(field.name))
        if spec is None:
            next(iter(self.fields.values())).widget.attrs["autofocus"] = True

    def groups(self) -> list[Group]:
        """Return the fields in the order in which they are asked for; those of a new task in three groups."""
        if self._spec is None:
            return [Group(title="", fields=list(self))]
        params = [field for field in self if field.name.partition(".")[0] == "params"]
        usual = [field for field in self if field.name in (*PARTS, "queue_name") and field.name != "params"]
        reason = [field for field in self if field.name == "reason"]
        rest = [field for field in self if field not in (*params, *usual, *reason)]
        found = [Group(title=f"Params of {self._spec.name}", fields=params), Group(title="Options", fields=usual)]
        given = any(field.errors or field.value() for field in rest)
        found += [Group(title="More options", fields=rest, is_open=given)] if rest else []
        return found + ([Group(title="Reason", fields=reason)] if reason else [])

    def given(self) -> dict[str, Any]:
        """Return the params that were given, each right by itself; none before anything was sent."""
        cleaned = self.cleaned_data if self.is_bound else {}
        found = {name: value for name, value in cleaned.items() if value not in (None, "")}
        if not self._by_param:
            return found
        # A null that a copied task had stays.
        kept = {name: None for name, value in self._old_params.items() if value is None}
        params = {name[len(PREFIX) :]: found.pop(name) for name in list(found) if name.startswith(PREFIX)}
        return {**found, "params": kept | params}

    @property
    def may_be_previewed(self) -> bool:
        """Whether nothing but the reason is missing or wrong."""
        return not self.is_bound or not set(self.errors) - {"reason"}

    def leave_reason_out(self) -> None:
        """Have a form that was sent for a preview not complain about its reason."""
        self.errors.pop("reason", None)

    def params(self) -> Any:
        """Return the model of a valid form."""
        return self._model.model_validate({**self._fixed(), **self.given()})

    def _fixed(self) -> dict[str, Any]:
        named = self._spec is not None and "task_name" in self._model.model_fields
        return {"task_name": self._spec.name} if named and self._spec else {}

    def clean(self) -> dict[str, Any]:
        """Check the params together, each fault beside its field."""
        super().clean()
        for name in sorted(set(self.data) - set(self.fields) - OF_PAGES):
            self.add_error(None, f"unknown field {shown(name)}; expected one of {', '.join(self.fields)}")
        if not set(self.errors) - {"reason"}:
            checks: list[Callable[[], Any]] = [] if self.errors else [self.params]
            if self._spec is not None:
                spec = self._spec
                checks.append(lambda: registry.check_params(spec, self.given().get("params", {})))
            for check in checks:
                try:
                    check()
                except ParamsInvalid as error:
                    self.add_faults(error)
        return self.cleaned_data

    def add_faults(self, error: ParamsInvalid) -> None:
        """Put each fault beside its field."""
        add_faults(self, error)


def add_faults(form: forms.BaseForm, error: ParamsInvalid) -> None:
    """Put each fault beside its field."""
    for problem in error.problems:
        path = str(problem["path"])
        field = next((name for name in _prefixes(path) if name in form.fields), None)
        if field is None:
            form.add_error(None, f"{path}: {problem['message']}")
        else:
            rest = path[len(field) + 1 :]
            # The message about an entry of a list has its text.
            has_place = rest and not rest.isdigit()
            form.add_error(field, f"{rest}: {problem['message']}" if has_place else problem["message"])


def _prefixes(path: str) -> Iterator[str]:
    """Yield a dotted path and those above it, the longest first."""
    while path:
        yield path
        path = path.rpartition(".")[0]


_FIELDS: Mapping[ParamKind, Callable[..., forms.Field]] = {"object": ObjectField, "list": ListField, "json": JSONText}


def form_field(param: ParamField, choices: Choices | None = None, *, of_task: bool = False) -> forms.Field:
    """Return the field of one param; the browser knows its bounds, and its model refuses in the words of the API.

    What is left empty among the params of a task (`of_task`) is not given, so that its default stays.
    """
    field = _made(param, choices, of_task=of_task)
    field.unit = param.unit  # type: ignore[attr-defined]
    return field


def _made(param: ParamField, choices: Choices | None, *, of_task: bool) -> forms.Field:
    bounds = f" ({param.bounds})" if of_task and param.bounds else ""
    about: dict[str, Any] = {"help_text": f"{param.description}{bounds}", "required": param.required}
    if of_task:
        about["label"] = param.name
    hints = {} if param.default in (None, "", [], {}) else {"placeholder": f"default {json.dumps(param.default)}"}
    if param.name == "reason":
        widget = forms.TextInput(attrs={"size": 60})
        return forms.CharField(max_length=int(param.maximum or 0) or None, widget=widget)
    if param.name == "priority" and not choices:
        about["error_messages"] = {"invalid_choice": f"must be between 1 and {PRIORITY_MOST} (got %(value)s)"}
        usual = PRIORITY_DEFAULT if param.required else None
        listed = priorities(param.required)
        return forms.TypedChoiceField(choices=listed, coerce=int, empty_value=None, initial=usual, **about)
    if choices is not None or param.choices:
        listed = choices if choices is not None else [(each, each) for each in param.choices]
        return forms.ChoiceField(choices=listed if param.required else [_default(param), *listed], **about)
    if param.kind == "flag" and of_task:
        yes_or_no = [("true", "yes"), ("false", "no")]
        listed = yes_or_no if param.required else [_default(param), *yes_or_no]
        return forms.TypedChoiceField(choices=listed, coerce=_is_true, empty_value=None, **about)
    if param.kind == "flag":
        return forms.BooleanField(**{**about, "required": False})
    known = {"min": param.minimum, "max": param.maximum}
    limits = {name: bound for name, bound in known.items() if bound is not None} | hints
    if param.kind == "integer":
        return forms.IntegerField(widget=forms.NumberInput(limits), **about)
    if param.kind == "number":
        return forms.FloatField(widget=forms.NumberInput({**limits, "step": "any"}), **about)
    if param.entries:
        return IdsField(param.entries, **about)
    if param.kind in _FIELDS:
        return _FIELDS[param.kind](**about)
    if param.kind == "moment":
        return MomentField(widget=forms.TextInput({"size": 60, "placeholder": "2026-10-01T06:00Z"}), **about)
    longest = {} if param.maximum is None else {"maxlength": int(param.maximum)}
    return forms.CharField(widget=forms.TextInput({**longest, "size": 60, **hints}), **about)


def priorities(required: bool) -> Choices:
    """Return all priorities in their bands, the highest first."""
    tops = (PRIORITY_MOST, *(least - 1 for least, _ in BANDS))
    bands = [
        (f"{name}, {least} to {top}", [(number, f"{number} {name}") for number in range(top, least - 1, -1)])
        for (least, name), top in zip(BANDS, tops, strict=False)
    ]
    return bands if required else [("", "default"), *bands]


def _default(param: ParamField) -> tuple[str, str]:
    known = {True: "yes", False: "no"}.get(param.default, param.default) if param.default is not None else ""
    return ("", f"default ({known})" if known else "default")


def _is_true(text: Any) -> bool:
    return text in (True, "true", "True")
