"""The examples of the API's description: those of the operations guide, valid, and what the server really answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft4Validator

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Task
from tests.contract import guide
from tests.contract.test_seed_commands import SECRET, stage
from tests.daphne_server import serving
from tests.tasks_app.feed.feed_clients import VALIDATOR, socket
from tests.tasks_app.listeners import in_thread
from tests.tasks_app.notes import REPORT, make_worker

__all__ = ["stage"]

JSON = "application/json"
PRINTED = {
    ("health", "200"): [guide.HEALTH],
    ("queue_stats", "200"): [guide.STATS],
    ("get_task", "200"): [guide.DETAIL],
    ("spawn_task", "body"): [guide.CORRECTED, guide.WITH_TIMEOUT, guide.URGENT],
    ("reprioritize_task", "body"): [guide.PRIORITY],
}
ANSWERED = {"queue_names", "all_queue_stats", "list_tasks", "cancel_task", "reprioritize_task", "spawn_task"}
"""Operations of the guide whose answers it does not print."""


@pytest.fixture(scope="module")
def schema() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)


def contents(schema: Any) -> Iterator[tuple[str, str, Any]]:
    """Every body of every operation: its operation, its status or `body`, and how it is described."""
    for path in schema["paths"].values():
        for operation in path.values():
            name = operation["operationId"]
            if "requestBody" in operation:
                yield name, "body", operation["requestBody"]["content"][JSON]
            for status, response in operation["responses"].items():
                if JSON in response.get("content", {}):
                    yield name, status, response["content"][JSON]


def examples(schema: Any, name: str, status: str) -> list[Any]:
    (content,) = [content for *place, content in contents(schema) if place == [name, status]]
    return [each["value"] for each in content.get("examples", {}).values()]


def without_nullable(described: Any) -> Any:
    """Write OpenAPI's `nullable` as JSON Schema does."""
    if isinstance(described, list):
        return [without_nullable(each) for each in described]
    if not isinstance(described, dict):
        return described
    plain = {name: without_nullable(each) for name, each in described.items() if name != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if described.get("nullable") is True else plain


def faults(schema: Any, described: Any, value: Any) -> list[str]:
    whole = without_nullable({**described, "components": schema["components"]})
    found = Draft4Validator(whole, format_checker=Draft4Validator.FORMAT_CHECKER).iter_errors(value)
    return [f"{each.json_path}: {each.message}" for each in found]


def kinds(value: Any) -> Any:
    """The names in a value and the JSON types under them; of a list, those of its first element."""
    if isinstance(value, dict):
        return {name: kinds(each) for name, each in value.items()}
    if isinstance(value, list):
        return [kinds(each) for each in value[:1]]
    return type(value).__name__


@pytest.mark.parametrize(("name", "status"), PRINTED, ids="-".join)
def test_an_example_says_what_the_guide_prints(schema, name, status):
    found = examples(schema, name, status)
    assert [guide.differences(*pair) for pair in zip(PRINTED[name, status], found, strict=True)] == [[]] * len(found)


def test_an_example_that_says_something_else_is_found_out():
    right = {"status": "healthy", "message": "Absurd is operational", "queue": "dsa110-pipeline"}
    assert guide.differences(guide.HEALTH, right) == []
    assert guide.differences(guide.HEALTH, {**right, "status": "fine"}) == ["/status"]
    assert guide.differences(guide.PRIORITY, {"priority": "15"}) == ["/priority"]
    assert guide.differences(guide.DETAIL, {})[-1] == "/result"


def test_every_operation_of_the_guide_has_an_answer_as_an_example(schema):
    with_answers = {name for name, status, output in contents(schema) if status != "body" and output.get("examples")}
    assert with_answers == {name for name, status in PRINTED if status != "body"} | ANSWERED


def test_every_example_is_valid(schema):
    assert not faults(
        schema, {"$ref": "#/components/schemas/Health"}, {"status": "healthy", "message": "", "queue": ""}
    )
    assert faults(schema, {"$ref": "#/components/schemas/Health"}, {"status": "fine", "message": "", "queue": ""})
    output = [(name, status, content) for name, status, content in contents(schema) if content.get("examples")]
    for name, status, content in output:
        for each in content["examples"].values():
            assert faults(schema, content["schema"], each["value"]) == [], (name, status)


@pytest.mark.parametrize(
    ("kind", "printed"),
    [("task_update", guide.TASK_UPDATE), ("queue_stats_update", guide.QUEUE_STATS_UPDATE)],
    ids=["task_update", "queue_stats_update"],
)
def test_the_schema_of_the_feed_has_the_messages_of_the_guide(kind, printed):
    (example,) = VALIDATOR.schema["$defs"][kind]["examples"]
    VALIDATOR.validate(example)
    assert guide.differences(printed, example) == []


class Server:
    """A server that is asked for what the examples show."""

    def __init__(self, http: httpx.AsyncClient, schema: Any) -> None:
        self._http = http
        self._schema = schema

    async def answer(self, name: str, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Return what is answered, once it is valid and like the operation's example."""
        answer = await self._http.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        output = answer.json()
        (content,) = [each for *place, each in contents(self._schema) if place == [name, str(status)]]
        assert faults(self._schema, content["schema"], output) == []
        (example,) = examples(self._schema, name, str(status))
        assert kinds(output) == kinds(example), name
        return output


@pytest.mark.django_db(transaction=True)
async def test_a_server_answers_as_the_examples_show(live_environment, stage, schema):
    environment = {**live_environment, "ABSURD_API_KEY": SECRET, "ABSURD_DATA_ROOTS": "/stage"}
    worker = await in_thread(make_worker)()
    async with contextlib.AsyncExitStack() as stack:
        port = stack.enter_context(serving(environment))
        base = f"http://127.0.0.1:{port}/api/absurd/"
        http = httpx.AsyncClient(base_url=base, headers={"X-API-Key": SECRET}, timeout=30)
        server = Server(await stack.enter_async_context(http), schema)
        await server.answer("health", "GET", "health")
        await server.answer("queue_names", "GET", "queues")
        await server.answer("all_queue_stats", "GET", "queues/stats")
        bodies = examples(schema, "spawn_task", "body")
        spawned = [await server.answer("spawn_task", "POST", "tasks", body, 201) for body in bodies]
        for body, task in zip(bodies, spawned, strict=True):
            assert {name: task[name] for name in body} == body
        *others, urgent = spawned
        address = f"tasks/{urgent['task_id']}"
        (priority,) = examples(schema, "reprioritize_task", "body")
        await server.answer("reprioritize_task", "POST", f"{address}/priority", priority)
        for task in others:
            await server.answer("cancel_task", "DELETE", f"tasks/{task['task_id']}")
        async with socket(port, f"task_id={urgent['task_id']}") as listener:
            await listener.next()
            await in_thread(fail_and_complete)(worker)
            heard = [await listener.next()]
            while heard[-1].get("update", {}).get("status") != "completed":
                heard.append(await listener.next())
            heard.append(await listener.first("queue_stats_update"))
        await server.answer("get_task", "GET", address)
        await server.answer("list_tasks", "GET", "tasks?status=completed")
        await server.answer("queue_stats", "GET", "queues/dsa110-pipeline/stats")
    for message in heard[-2:]:
        (example,) = VALIDATOR.schema["$defs"][message["type"]]["examples"]
        assert kinds(message) == kinds(example)


def fail_and_complete(worker: Any) -> None:
    """Do the one task that is left as the guide's was done: at the second attempt."""
    (claim,) = claim_tasks(worker, limit=1)
    fail_attempt(claim, "error", "a lost antenna", REPORT)
    Task.objects.filter(status="pending").update(hold=0)
    (claim,) = claim_tasks(worker, limit=1)
    complete_task(claim, {"caltables": ["/stage/urgent.B0"]}, REPORT)
