from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from tasks_app.engine.handler import Context
from workers.process import protocol
from workers.process.child import Channel, ChildContext, execute
from workers.process.protocol import Failure, Progress, Request, Result


class Params(BaseModel):
    value: Any = None


def returns(params: Params, context: Context) -> Any:
    return params.value


def exits(params: Params, context: Context) -> None:
    raise SystemExit(2)


def takes_anything(params, context):
    return None


def writes(params: Params, context: Context) -> dict[str, str]:
    table = context.output("cal.tbl")
    table.mkdir()
    (table / "table.dat").write_text("gains")
    (table / "table.lock").write_text(str(params.value))
    context.product("calibration", table, metrics={"snr": 9.0}, verdict="pass", inputs=["raw.ms"])
    context.progress(0.5, "half way", antennas=3)
    return {"path": context.published(table)}


def run(
    directory: Path, function: str, *, module: str = __name__, **params: object
) -> tuple[Result | Failure, list[Progress]]:
    directory.mkdir(exist_ok=True)
    (directory / "log").touch()
    request = Request(
        task_id="t",
        attempt=1,
        task_name="test",
        handler=f"{module}:{function}",
        params=params,
        attempt_dir=str(directory),
        published_dir="/published/test.12345678",
        data_roots=(str(directory),),
        log_path=str(directory / "log"),
        check_log=f"{__name__}:refuse_bad",
        cores=1,
        memory_gb=1.0,
    )
    reader, writer = os.pipe()
    reply = execute(request, ChildContext(request, Channel(writer)))
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        return reply, [protocol.decode(line) for line in stream]


@pytest.mark.parametrize(
    ("value", "named"),
    [([1.0, float("nan")], "result"), ({"a": {"b": float("inf")}}, "result.a.b"), ({"a": {1, 2}}, "result.a")],
)
def test_it_refuses_a_result_that_json_cannot_hold_and_names_the_place(tmp_path, value, named):
    reply, _ = run(tmp_path, "returns", value=value)
    assert isinstance(reply, Failure) and reply.failure_class == "error"
    assert named in reply.message


def test_a_handler_that_calls_exit_has_failed(tmp_path):
    reply, _ = run(tmp_path, "exits")
    assert isinstance(reply, Failure) and (reply.failure_class, "exit(2)" in reply.message) == ("error", True)


def logs(params: Params, context: Context) -> None:
    with (context.attempt_dir / "log").open("a") as log:
        log.write(params.value)


def refuse_bad(log: Path, offset: int) -> None:
    if b"bad" in log.read_bytes()[offset:]:
        raise RuntimeError("the log says bad")


@pytest.mark.parametrize(("text", "reply_type"), [("all good", Result), ("all bad", Failure)])
def test_the_check_of_the_log_sees_what_this_attempt_wrote_and_its_exception_is_the_failure(tmp_path, text, reply_type):
    (tmp_path / "log").write_text("bad, says an earlier attempt\n")
    reply, _ = run(tmp_path, "logs", value=text)
    assert isinstance(reply, reply_type)
    assert reply_type is Result or (reply.failure_class, "says bad" in reply.message) == ("error", True)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    value: int = 0


def strict(params: Strict, context: Context) -> dict[str, int]:
    return {"value": params.value}


@pytest.mark.parametrize(
    ("module", "function", "params", "failure_class", "reason"),
    [
        pytest.param(__name__, "takes_anything", {}, "error", "not annotated", id="no handler"),
        pytest.param(__name__, "is_not_there", {}, "unavailable", "cannot be imported on this host", id="no function"),
        pytest.param("no_such_module", "run", {}, "unavailable", "cannot be imported on this host", id="no module"),
        pytest.param(__name__, "strict", {"newer": 1}, "unavailable", "does not know params.newer", id="newer params"),
        pytest.param(__name__, "strict", {"newer": 1, "value": "x"}, "invalid", "params.value", id="wrong params too"),
    ],
)
def test_what_another_host_may_have_is_unavailable(tmp_path, module, function, params, failure_class, reason):
    reply, _ = run(tmp_path, function, module=module, **params)
    assert isinstance(reply, Failure) and reply.failure_class == failure_class
    assert reason in reply.message


def test_products_are_summed_without_casas_lock_file(tmp_path):
    first, progress = run(tmp_path / "1", "writes", value="one")
    second, _ = run(tmp_path / "2", "writes", value="another")
    assert isinstance(first, Result) and isinstance(second, Result)
    (product,) = first.products
    assert product.checksum == second.products[0].checksum
    assert (product.kind, product.path, product.size_bytes, product.verdict) == ("calibration", "cal.tbl", 5, "pass")
    assert first.result == {"path": "/published/test.12345678/cal.tbl"}
    assert progress == [Progress(fraction=0.5, message="half way", metrics={"antennas": 3.0})]
