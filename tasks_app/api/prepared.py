"""Serializers that work out once how each of their fields is read, not again for every request and every row."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, TypeVar

from django.db.models import Model
from rest_framework import serializers
from rest_framework.fields import Field, empty

M = TypeVar("M", bound=Model)
Read = Callable[[Any], Any]


class PreparedSerializer(serializers.ModelSerializer[M]):
    """Shows instances of a model as its fields say; `only` names those that are wanted, by default all of them.

    The answers are those of the framework's own serializer, as long as no field needs the request.
    """

    def __init__(self, *args: Any, only: Collection[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._only = only

    def get_fields(self) -> dict[str, Field[Any, Any, Any, Any]]:
        """Return the wanted fields."""
        fields = super().get_fields()
        return fields if self._only is None else {name: fields[name] for name in fields if name in self._only}

    def to_representation(self, instance: M) -> dict[str, Any]:
        """Return the instance as JSON has it."""
        only = self._only
        return {
            name: None if (value := read(instance)) is None else show(value)
            for name, read, show in _prepared(type(self))
            if only is None or name in only
        }


@functools.cache
def _prepared(shape: type[PreparedSerializer[Any]]) -> tuple[tuple[str, Read, Read], ...]:
    """Return the name of each field, how its value is read off an instance, and how a value is shown."""
    fields = [field for field in shape().fields.values() if not field.write_only]
    return tuple((str(field.field_name), _reader(field), _shower(field)) for field in fields)


def _reader(field: Any) -> Read:
    if type(field).get_attribute is not Field.get_attribute or not field.source_attrs:
        read: Read = field.get_attribute
        return read
    look_up = attrgetter(field.source)
    if field.default is empty:
        return look_up

    def look_up_or_default(instance: Any) -> Any:
        try:
            return look_up(instance)
        except AttributeError:
            return field.get_default()

    return look_up_or_default


def _shower(field: Any) -> Read:
    show: Read = _in_utc if type(field) is serializers.DateTimeField else field.to_representation
    return show


def _in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
