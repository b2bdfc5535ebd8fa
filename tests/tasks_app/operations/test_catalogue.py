"""Every operation of the catalogue, from every interface: the same permission, its reason, its event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import resolve, reverse

from pipeline_app.models import Calibration, Product
from pipeline_app.operations import refuse_calibration
from tasks_app.auth.keys import Scope
from tasks_app.models import Limit, Queue, Schedule, TaskEvent, Worker
from tasks_app.models.system import SCOPES
from tasks_app.operations import schedules
from tasks_app.operations.catalogue import OPERATIONS
from tasks_app.operations.operation import Operation, PreviewedOperation
from tasks_app.operations.queues import pause, set_limit
from tasks_app.operations.routes import route_of
from tasks_app.operations.system import disable, freeze
from tasks_app.testing import make_task, make_worker
from tests.tasks_app.callers import Caller, make_key, make_user
from tests.tasks_app.management.commands import output_of, refused
from tests.tasks_app.notes import claim_one, spawn_note
from tests.tasks_app.workflows.run_plans import begin, break_, claim_all, linear

pytestmark = pytest.mark.django_db
BY = {"actor": "user:alice", "reason": "before"}
REASON = "because it must be"
GIVEN: dict[str, dict[str, Any]] = {
    "reprioritize": {"priority": 17},
    "requeue": {"force": True},
    "set": {"size": 3},
    "acknowledge": {"finding": "lost-workers"},
    "vote": {"vote": "good"},
}
"""What an operation must be given beside its reason."""
COMMANDS = {
    "run": "absurd_runs",
    "worker": "absurd_workers",
    "queue": "absurd_queues",
    "schedule": "absurd_schedules",
    "limit": "absurd_limits",
    "calibration": "absurd_calibrations",
    "image": "absurd_images",
}


MODELS = {"system": "tasks_app_freeze", "calibration": "pipeline_app_calibration", "image": "pipeline_app_product"}


def a_task(name: str) -> tuple[Any, tuple[str, ...]]:
    task = make_task("note", {"text": "a"}, status="failed") if name == "retry" else spawn_note()
    if name == "requeue":
        claim_one(make_worker())
    return task.task_id, (str(task.task_id),)


def a_run(name: str) -> tuple[Any, tuple[str, ...]]:
    run = begin(linear())
    if name == "retry":
        break_(claim_all(make_worker())["convert"], "invalid")
    return run.pk, (str(run.run_id),)


def a_worker(name: str) -> tuple[Any, tuple[str, ...]]:
    worker = make_worker()
    if name == "resume":
        Worker.objects.update(ordered="pause")
    return worker.pk, (str(worker.pk),)


def a_queue(name: str) -> tuple[Any, tuple[str, ...]]:
    queue = spawn_note().queue_id
    if name == "resume":
        pause(queue, **BY)
    return Queue.objects.get().pk, (queue,)


def a_schedule(name: str) -> tuple[Any, tuple[str, ...]]:
    wanted = {"cron": "0 3 * * *", "task_name": "note", "params": {"text": "a"}, "enabled": name != "enable"}
    schedules.save("nightly", **wanted, actor="user:alice")
    return Schedule.objects.get().pk, ("nightly",)


def a_limit(name: str) -> tuple[Any, tuple[str, ...]]:
    set_limit("key", "disk", size=2, **BY)
    return Limit.objects.get().pk, ("key", "disk")


def a_calibration(name: str) -> tuple[Any, tuple[str, ...]]:
    origin = {"task_id": uuid4(), "path": "/data/tile.cal", "verdict": "warn"}
    Product.objects.create(**origin, attempt=1, task_name="calibration-solve", kind="calibration")
    solved = Calibration.objects.create(**origin, mid_mjd=61314.0, declination_deg=16.1, reasons=["few antennas"])
    if name == "accept":
        refuse_calibration(solved.pk, **BY)
    return solved.pk, (str(solved.pk),)


def an_image(name: str) -> tuple[Any, tuple[str, ...]]:
    made = Product.objects.create(task_id=uuid4(), attempt=1, task_name="imaging", kind="image", path="/data/a.fits")
    return made.pk, (str(made.pk),)


def the_system(name: str) -> tuple[Any, tuple[str, ...]]:
    if name == "thaw":
        freeze(**BY)
    if name == "enable":
        disable(**BY)
    return None, ()


MAKERS: dict[str, Callable[[str], tuple[Any, tuple[str, ...]]]] = {
    "task": a_task,
    "run": a_run,
    "worker": a_worker,
    "queue": a_queue,
    "schedule": a_schedule,
    "limit": a_limit,
    "calibration": a_calibration,
    "image": an_image,
    "system": the_system,
}


@pytest.fixture(params=OPERATIONS.values(), ids=lambda each: f"{each.target_kind}-{each.name}")
def operation(request: pytest.FixtureRequest) -> Operation[Any, Any]:
    return request.param


def make_target(operation: Operation[Any, Any]) -> tuple[Any, tuple[str, ...]]:
    """Return the console's key of a target to which it can be done, and the parts of its own key."""
    return MAKERS[operation.target_kind](operation.name)


def events(operation: Operation[Any, Any], reason: str = REASON) -> list[str]:
    """Return who has written the operation's events with the reason; a requeued claim's reason is in its error."""
    found = TaskEvent.objects.filter(event_type__in=operation.event_types)
    if operation.name != "requeue":
        found = found.filter(reason=reason)
    return list(found.order_by("id").values_list("actor", flat=True))


def person(*permissions: str) -> User:
    """Return a person with these permissions and no others."""
    user = make_user("olga")
    for each in permissions:
        app, _, codename = each.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def send(operation: Operation[Any, Any], key: tuple[str, ...], caller: Caller, **given: Any) -> Any:
    """Send the request that carries the operation out, after a dry run where it wants one."""
    route = route_of(operation.target_kind, operation.name)
    body = {**GIVEN.get(operation.name, {}), **given}
    if isinstance(operation, PreviewedOperation) and operation.token_required:
        looked = caller(route.method, route.address(*key), body)
        if looked.status_code != 200:
            return looked
        body |= {"dry_run": False, "token": looked.body["token"]}
    return caller(route.method, route.address(*key), body)


def test_the_api_carries_it_out_for_keys_of_its_scope_and_no_other(operation):
    _, key = make_target(operation)
    other: list[Scope] = [scope for scope in SCOPES if scope != operation.scope]
    assert send(operation, key, Caller(make_key(*other, name="other")), reason=REASON).status_code == 403
    assert events(operation) == []
    needed = [operation.scope, "read"]
    answer = send(operation, key, Caller(make_key(*needed, name="right")), reason=REASON)
    assert answer.status_code in (200, 201, 202, 204), answer.body
    assert set(events(operation)) == {"key:right"}


def test_the_api_carries_it_out_for_people_with_its_permission(operation):
    _, key = make_target(operation)
    caller = Caller()
    caller.client.force_login(person("tasks_app.view_task"))
    assert send(operation, key, caller, reason=REASON).status_code == 403
    User.objects.all().delete()
    caller.client.force_login(person("tasks_app.view_task", operation.permission))
    assert send(operation, key, caller, reason=REASON).status_code in (200, 201, 202, 204)
    assert set(events(operation)) == {"user:olga"}


def test_the_api_wants_the_reason_that_it_needs(operation):
    _, key = make_target(operation)
    answer = send(operation, key, Caller(make_key(*SCOPES)))
    needed = operation.params_model.needs_reason() or getattr(operation, "token_required", False)
    assert (answer.status_code == 422) is needed, answer.body
    if needed:
        assert [fault["path"] for fault in answer.body["errors"]] == ["reason"]


def test_the_console_carries_it_out_with_its_permission_and_a_reason(operation):
    pk, _ = make_target(operation)
    model = MODELS.get(operation.target_kind, f"tasks_app_{operation.target_kind}")
    address = reverse(f"admin:{model}_{operation.name}", args=[] if pk is None else [pk])
    client = Client()
    client.force_login(person("tasks_app.view_task"))
    assert client.get(address).status_code == client.post(address, {"confirmed": "yes"}).status_code == 403
    User.objects.all().delete()
    client.force_login(person(operation.permission))
    page = client.get(address)
    assert operation.effect in page.content.decode()
    fields = {name: str(value) for name, value in GIVEN.get(operation.name, {}).items()}
    initial = {
        name: value for name, value in page.context["form"].initial.items() if name not in fields and value is not None
    }
    initial.pop("params", None)  # its fields stand beside it
    form = {**initial, **fields, "confirmed": "yes", "expected": "1"}
    if operation.name == "respawn":
        form["token"] = client.post(address, {**initial, **fields, "look": "yes"}).context["preview"].token
    if page.context.get("preview"):
        form["token"] = page.context["preview"].token
    client.post(address, {**form, "reason": ""})
    assert events(operation) == []
    client.post(address, {**form, "reason": REASON})
    assert set(events(operation)) == {"user:olga"}


def test_the_shell_carries_it_out_with_the_reason_that_it_needs(operation):
    _, key = make_target(operation)
    kind, name = operation.target_kind, operation.name
    words: list[Any] = [COMMANDS[kind], name, *key] if kind in COMMANDS else [f"absurd_{name.replace('-', '_')}", *key]
    for param, value in GIVEN.get(name, {}).items():
        words += [value] if param == "finding" else [f"--{param}"] if value is True else [f"--{param}", value]
    if operation.params_model.needs_reason():
        assert refused(*words, "--reason", " ", "--yes")[0] == 2
        assert events(operation) == []
    output_of(*words, "--reason", REASON, "--yes")
    assert {actor.partition(":")[0] for actor in events(operation)} == {"cli"}


def test_the_client_has_a_route_to_it(operation):
    _, key = make_target(operation)
    route = route_of(operation.target_kind, operation.name)
    found = resolve(f"/api/absurd/{route.address(*key)}").func
    assert found.cls.needs[route.method] == operation.need
