"""The shape of an explanation, for the API and for the shell."""

from __future__ import annotations

from typing import Any, get_args

from rest_framework import serializers

from tasks_app.models import TaskStatus
from tasks_app.monitoring.explain.findings import Code, Severity


class FindingSerializer(serializers.Serializer[Any]):
    """One cause or fact, and what to do about it."""

    code = serializers.ChoiceField(choices=[code.value for code in Code], help_text="Stable; the text may change.")
    severity = serializers.ChoiceField(
        choices=get_args(Severity),
        help_text="blocking: no claim returns the task until this changes; delaying: others are first; info: a fact.",
    )
    text = serializers.CharField()
    remedy = serializers.CharField(help_text="What to do; empty where nothing needs to be done.")
    detail = serializers.DictField(help_text="The numbers and ids behind the text; its fields depend on the code.")


class ExplanationSerializer(serializers.Serializer[Any]):
    """Why a task is not running, how it is running, or how it ended; the decisive finding first."""

    task_id = serializers.UUIDField()
    task_name = serializers.CharField()
    queue_name = serializers.CharField()
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    display_status = serializers.CharField(source="state")
    as_of = serializers.DateTimeField(help_text="The database's time at which the rows were read.")
    summary = serializers.CharField()
    is_blocked = serializers.BooleanField(help_text="Whether no claim can return the task now.")
    findings = FindingSerializer(many=True)
