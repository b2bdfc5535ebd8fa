"""The shape of an explanation, for the API and for the shell."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.models import TaskStatus
from tasks_app.monitoring.explain.findings import Code


class FindingSerializer(serializers.Serializer[Any]):
    """One cause or fact, and what to do about it."""

    code = serializers.ChoiceField(choices=[code.value for code in Code], help_text="Stable; the text may change.")
    weight = serializers.ChoiceField(
        choices=["blocks", "delays", "tells"],
        help_text="blocks: no claim returns the task before this has changed; delays: others go first; tells: a fact.",
    )
    text = serializers.CharField()
    do = serializers.CharField(help_text="The remedy; empty where none is needed.")
    detail = serializers.DictField(help_text="The numbers and ids behind the text; its fields depend on the code.")


class ExplanationSerializer(serializers.Serializer[Any]):
    """Why a task is not running, how it is running, or how it ended; the decisive finding first."""

    task_id = serializers.UUIDField()
    task_name = serializers.CharField()
    queue_name = serializers.CharField()
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    display_status = serializers.CharField(source="state")
    as_of = serializers.DateTimeField(help_text="The database's time at which all of this was so.")
    summary = serializers.CharField()
    is_blocked = serializers.BooleanField(help_text="Whether no claim can return the task now.")
    findings = FindingSerializer(many=True)
