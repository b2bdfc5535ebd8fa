"""The shape of a run to be spawned: a registered workflow with its params, or stages of one's own."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.api.bodies import StrictSerializer
from tasks_app.api.serializers import SpawnSerializer
from tasks_app.engine.options import Binding, Gather
from tasks_app.workflows.plan import STAGE_NAME_CHARS, TASKS_MOST, All, One, RunPlan, Source, Stage


class TakenFromSerializer(StrictSerializer):
    """Where a param comes from: a stage's result, of one task or of all, or the result of a task of another run."""

    field = serializers.CharField(max_length=200, help_text="The field of the result.")
    stage = serializers.CharField(max_length=STAGE_NAME_CHARS, required=False)
    all = serializers.BooleanField(required=False, default=False, help_text="The list of all the stage's tasks.")
    task_id = serializers.UUIDField(required=False)
    task_ids = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=1000)

    def to_internal_value(self, data: Any) -> Source:
        given = super().to_internal_value(data)
        if len({"stage", "task_id", "task_ids"} & given.keys()) != 1:
            raise serializers.ValidationError({"stage": "give one of stage, task_id and task_ids"})
        if "task_id" in given:
            return Binding(task_id=given["task_id"], field=given["field"])
        if "task_ids" in given:
            return Gather(task_ids=given["task_ids"], field=given["field"])
        return (All if given["all"] else One)(given["stage"], given["field"])


class StageSerializer(SpawnSerializer):
    """One step of a run: a task, or as many as it fans out into, with the options of a spawn."""

    name = serializers.CharField(max_length=STAGE_NAME_CHARS)
    after = serializers.ListField(
        child=serializers.CharField(), required=False, max_length=TASKS_MOST, help_text="Stages to wait for."
    )
    bindings = serializers.DictField(
        child=TakenFromSerializer(), required=False, help_text="Params taken from results, by param."
    )
    fan_out = serializers.ListField(
        child=serializers.DictField(), required=False, max_length=TASKS_MOST, help_text="The params of each task."
    )

    def to_internal_value(self, data: Any) -> Stage:
        given = super().to_internal_value(data)
        own = {
            name: given.pop(name)
            for name in ("name", "task_name", "params", "after", "bindings", "fan_out", "join")
            if name in given
        }
        return Stage(**own, options=given)


class RunSpawnSerializer(StrictSerializer):
    """A registered workflow with its params, or a run of one's own with its stages."""

    workflow = serializers.CharField(max_length=100)
    params = serializers.DictField(required=False, default=dict)
    label = serializers.CharField(  # type: ignore[assignment]
        max_length=200, required=False, default="", allow_blank=True, help_text="What the run is for; with stages."
    )
    stages = StageSerializer(many=True, required=False, help_text="Absent: those of the registered workflow.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["label"] and "stages" not in attrs:
            raise serializers.ValidationError({"label": "only a run with stages of its own is given a label"})
        return attrs


def plan_of(wanted: dict[str, Any]) -> RunPlan:
    """Return the plan of a run with stages of its own."""
    return RunPlan(wanted["workflow"], label=wanted["label"], params=wanted["params"], stages=list(wanted["stages"]))
