"""Several tasks in one request: all or none, once a key, with the path of every fault."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tasks_app.engine.options import BATCH_MOST
from tasks_app.models import IdempotencyKey, Task, TaskEvent
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import claim_one, spawn_note
from tests.tasks_app.test_races import together

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("spawn"))


def notes(count: int) -> list[dict[str, object]]:
    return [{"task_name": "note", "params": {"text": f"note {number}"}} for number in range(count)]


def test_all_are_spawned_in_order_with_the_options_of_a_spawn(api):
    parent = spawn_note()
    first = {**notes(1)[0], "priority": 15, "queue_name": "other", "depends_on": [str(parent.task_id)]}
    answer = api.post("tasks/batch", {"tasks": [first, *notes(2)]})
    assert answer.status_code == 201
    tasks = answer.body["tasks"]
    assert [each["params"]["text"] for each in tasks] == ["note 0", "note 0", "note 1"]
    assert (tasks[0]["priority"], tasks[0]["queue_name"], tasks[0]["depends_on"]) == (
        15,
        "other",
        [str(parent.task_id)],
    )
    single = api.post("tasks", notes(1)[0]).body
    assert tasks[1].keys() == single.keys()
    assert (tasks[1]["created_by"], tasks[1]["queue_paused"]) == ("key:ingest", False)
    assert set(TaskEvent.objects.exclude(actor="user:test").values_list("actor", flat=True)) == {"key:ingest"}


def test_five_hundred_take_one_request_and_few_queries(api, django_assert_max_num_queries):
    api.post("tasks", notes(1)[0])
    with django_assert_max_num_queries(40):
        answer = api.post("tasks/batch", {"tasks": notes(BATCH_MOST)})
    assert (answer.status_code, len(answer.body["tasks"])) == (201, BATCH_MOST)
    assert Task.objects.count() == BATCH_MOST + 1


@pytest.mark.parametrize(
    ("tasks", "paths"),
    [
        ([], ["tasks"]),
        (notes(BATCH_MOST + 1), ["tasks"]),
        ([*notes(1), {"task_name": "note"}, {"task_name": "notes"}], ["tasks.1.params.text", "tasks.2.task_name"]),
        ([*notes(2), {**notes(1)[0], "priority": 21}], ["tasks.2.priority"]),
        ([*notes(1), {**notes(1)[0], "priorty": 2}], ["tasks.1.priorty"]),
        ([*notes(1), {**notes(1)[0], "queue_name": "a/b"}], ["tasks.1.queue_name"]),
        ([*notes(1), {**notes(1)[0], "depends_on": [str(uuid4())]}], ["tasks.1.depends_on"]),
        ([*notes(1), {**notes(1)[0], "idempotency_key": "k" * 201}], ["tasks.1.idempotency_key"]),
        ([*notes(1), "note"], ["tasks.1"]),
        ([*notes(1), {**notes(1)[0], "priority": "5"}], ["tasks.1.priority"]),
    ],
    ids=[
        "none", "too-many", "params-and-name", "priority", "unknown-field", "queue", "parent", "long-key",
        "no-object", "coerced",
    ],
)  # fmt: skip
def test_where_one_is_wrong_none_is_spawned_and_each_fault_has_its_path(api, tasks, paths):
    answer = api.post("tasks/batch", {"tasks": tasks})
    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.body["errors"]] == paths
    assert not Task.objects.exists()


def test_a_body_over_the_bound_is_413(api):
    body = {"tasks": [{"task_name": "note", "params": {"text": "x" * 20_000}}] * 60}
    assert api.post("tasks/batch", body).status_code == 413


def test_the_key_of_the_whole_spawns_it_once(api):
    key, body = {"Idempotency-Key": "night-7"}, {"tasks": notes(3)}
    first, again = api.post("tasks/batch", body, **key), api.post("tasks/batch", body, **key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert [task["task_id"] for task in first.body["tasks"]] == [task["task_id"] for task in again.body["tasks"]]
    for tasks in (notes(2), notes(4), notes(3)[::-1]):
        changed = api.post("tasks/batch", {"tasks": tasks}, **key)
        assert (changed.status_code, changed.body["code"]) == (409, "idempotency_conflict")
    assert Task.objects.count() == 3
    long = api.post("tasks/batch", body, **{"Idempotency-Key": "k" * 195})
    assert (long.status_code, long.body["errors"][0]["path"]) == (422, "idempotency_key")


def test_tasks_may_have_keys_of_their_own(api, worker):
    known = api.post("tasks", notes(1)[0], **{"Idempotency-Key": "tile-0"}).body
    claim_one(worker)
    body = {"tasks": [{**task, "idempotency_key": f"tile-{n}"} for n, task in enumerate(notes(3))]}
    tasks = api.post("tasks/batch", body).body["tasks"]
    assert (tasks[0]["task_id"], tasks[0]["status"]) == (known["task_id"], "claimed")
    assert api.post("tasks/batch", body).body["tasks"][2]["task_id"] == tasks[2]["task_id"]
    assert Task.objects.count() == 3
    body["tasks"][0]["params"] = {"text": "another"}
    assert api.post("tasks/batch", body).status_code == 409


@pytest.mark.django_db(transaction=True)
def test_two_requests_at_once_with_one_key_spawn_one_batch():
    key = make_key("spawn")
    for number in range(5):
        callers = [Caller(key, **{"Idempotency-Key": f"night-{number}"}) for _ in range(3)]
        answers = together(*(lambda c=caller: c.post("tasks/batch", {"tasks": notes(4)}) for caller in callers))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 201]
        assert len({answer.body["tasks"][3]["task_id"] for answer in answers}) == 1
    assert Task.objects.count() == 20
    assert IdempotencyKey.objects.filter(key__startswith="night-").count() == 25


def test_only_keys_that_may_spawn_are_let_in():
    assert Caller(make_key("read", "operate", "admin")).post("tasks/batch", {"tasks": notes(1)}).status_code == 403
    assert Caller().post("tasks/batch", {"tasks": notes(1)}).status_code == 401
