"""Plans are checked and wired without a database."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tasks_app.engine.bindings import Binding, Gather
from tasks_app.engine.options import Join
from tasks_app.errors import ParamsInvalid
from tasks_app.models import Run
from tasks_app.operations.runs import start
from tasks_app.workflows.plan import EDGES_MOST, TASKS_MOST, All, One, RunPlan
from tests.tasks_app.workflows.run_plans import HELLO, diamond, fan, linear


def faults(plan: RunPlan) -> dict[str, str]:
    with pytest.raises(ParamsInvalid) as caught:
        plan.tasks()
    return {problem["path"]: problem["message"] for problem in caught.value.problems}


def by_stage(plan: RunPlan):
    return {request.stage: request for request in plan.tasks()}


def test_a_chain_takes_each_param_from_the_stage_before():
    stages = by_stage(linear())
    assert list(stages) == ["convert", "image", "measure"]
    assert stages["image"].bindings == {"text": Binding(task_id=stages["convert"].task_id, field="title")}
    assert set(stages["measure"].parents) == {stages["image"].task_id}


def test_stages_may_be_named_in_any_order_and_parents_come_first():
    stages = by_stage(diamond())
    assert (next(iter(stages)), list(stages)[-1]) == ("top", "join")
    assert set(stages["join"].parents) == {stages["left"].task_id, stages["right"].task_id}


def test_a_stage_fans_out_over_a_list_and_another_gathers_all_of_it_in_order():
    *images, mosaic = fan(12, Join(quorum=9, deadline_sec=60)).tasks()
    assert [image.options.params["text"] for image in images] == [str(place) for place in range(12)]
    assert mosaic.bindings == {"titles": Gather(task_ids=[image.task_id for image in images], field="title")}
    assert mosaic.options.join == Join(quorum=9, deadline_sec=60)


def test_stages_that_fan_out_alike_are_wired_place_by_place_and_after_means_all():
    texts = [{"text": "a"}, {"text": "b"}]
    plan = RunPlan("two").stage("convert", "note", fan_out=texts)
    plan.stage("image", "note", fan_out=[{"copies": 1}, {"copies": 2}], bindings={"text": One("convert", "title")})
    plan.stage("late", "note", fan_out=texts, after=["convert"])
    a, b, image_a, image_b, *late = plan.tasks()
    assert (set(image_a.parents), set(image_b.parents)) == ({a.task_id}, {b.task_id})
    assert [set(each.parents) for each in late] == [{a.task_id, b.task_id}] * 2


def test_common_params_and_options_reach_every_task_and_outside_tasks_can_be_waited_for():
    outside, run_id = uuid4(), uuid4()
    plan = RunPlan("x").stage(
        "image", "note", params={"copies": 3}, fan_out=[{"text": "a"}, {"text": "b", "copies": 1}],
        priority=9, depends_on=[outside], depends_on_runs=[run_id],
    )  # fmt: skip
    first, second = plan.tasks()
    one, two = first.options, second.options
    assert (one.params, two.params) == ({"text": "a", "copies": 3}, {"text": "b", "copies": 1})
    assert (two.priority, two.depends_on, two.depends_on_runs) == (9, (outside,), (run_id,))


def test_a_circle_of_stages_is_refused_and_shown():
    plan = RunPlan("x").stage("a", "note", params=HELLO, after=["b"])
    plan.stage("b", "note", bindings={"text": One("a", "title")})
    assert "a → b → a" in faults(plan)["stages"] or "b → a → b" in faults(plan)["stages"]


def test_every_fault_is_named_by_its_path():
    plan = RunPlan("x" * 101)
    plan.stage("image", "note", params=HELLO, after=["convrt"])
    plan.stage("convert", "note", params=HELLO)
    plan.stage("convert", "note", bindings={"text": One("imagine", "title")})
    plan.stage("a~1", "note", params=HELLO)
    found = faults(plan)
    assert found.keys() == {
        "workflow", "stages.image.after", "stages.convert.name",
        "stages.convert.bindings.text", "stages.a~1.name",
    }  # fmt: skip
    assert "did you mean 'convert'?" in found["stages.image.after"]


def test_options_that_do_not_fit_are_refused_with_their_stage():
    with pytest.raises(ParamsInvalid) as caught:
        RunPlan("x").stage("image", "note", params=HELLO, priority=99, colour="red")
    assert {problem["path"] for problem in caught.value.problems} == {"stages.image.priority", "stages.image.colour"}


@pytest.mark.django_db
def test_what_the_queue_refuses_of_a_task_is_named_with_its_stage_and_place():
    plan = RunPlan("x").stage("a", "note", fan_out=[HELLO, {"txt": "b"}]).stage("b", "notes", params=HELLO)
    with pytest.raises(ParamsInvalid) as caught:
        start(plan, "user:test")
    assert {problem["path"] for problem in caught.value.problems} == {
        "stages.a.fan_out[1].params.text", "stages.a.fan_out[1].params.txt", "stages.b.task_name",
    }  # fmt: skip
    plan = RunPlan("x").stage("a", "note", fan_out=[HELLO, HELLO])
    plan.stage("d", "note", params=HELLO, after=["a"], join=Join(quorum=3))
    with pytest.raises(ParamsInvalid, match=r"stages\.d\.join\.quorum: must be at most 2"):
        start(plan, "user:test")
    assert not Run.objects.exists()


def test_one_result_of_many_tasks_is_refused():
    plan = RunPlan("x").stage("a", "note", fan_out=[HELLO, HELLO]).stage("b", "note", bindings={"text": One("a", "t")})
    assert "take All" in faults(plan)["stages.b.bindings.text"]


@pytest.mark.parametrize("plan", [RunPlan("x"), RunPlan("x").stage("a", "note", fan_out=[])])
def test_a_run_or_a_stage_without_tasks_is_refused(plan):
    assert "at least one" in " ".join(faults(plan).values())


def test_runs_are_bounded_in_tasks_and_in_edges():
    assert "stages" in faults(RunPlan("x").stage("a", "note", fan_out=[HELLO] * (TASKS_MOST + 1)))
    half = [HELLO] * (int(EDGES_MOST**0.5) + 1)
    plan = RunPlan("x").stage("a", "note", fan_out=half).stage("b", "note", fan_out=half, after=["a"])
    assert "put a stage with one task between them" in faults(plan)["stages.b"]


def test_a_gathered_list_may_be_all_of_a_single_task():
    plan = RunPlan("x").stage("a", "note", params=HELLO).stage("b", "gather", bindings={"titles": All("a", "title")})
    a, b = plan.tasks()
    assert b.bindings == {"titles": Gather(task_ids=[a.task_id], field="title")}
