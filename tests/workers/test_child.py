from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

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
        benign_severe=("of no account",),
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
    (context.attempt_dir / "log").write_text(params.value)


SEVERE = "2026-11-25 08:50:41\tSEVERE\tgaincal::::casa\t"


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        pytest.param(f"fine\n{SEVERE}no solutions\n", "gaincal::::casa: no solutions", id="severe"),
        pytest.param(f"{SEVERE}of no account\n{SEVERE}first\n{SEVERE}second\n", "first\n", id="benign and not"),
        pytest.param("".join(f"{SEVERE}number {n}\n" for n in range(99)), "and 89 more", id="bounded"),
    ],
)
def test_what_casa_calls_severe_is_a_failure_although_the_handler_returned(tmp_path, text, quoted):
    reply, _ = run(tmp_path, "logs", value=text)
    assert isinstance(reply, Failure) and (reply.failure_class, quoted in reply.message) == ("error", True)
    assert "of no account" not in reply.message and len(reply.message) < 7000


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{SEVERE}of no account\n", id="benign"),
        pytest.param("2026-11-25 08:50:41\tWARN\tx\tSEVERE weather\n\tnot SEVERE\n", id="only mentioned"),
    ],
)
def test_what_is_not_severe_is_no_failure(tmp_path, text):
    reply, _ = run(tmp_path, "logs", value=text)
    assert isinstance(reply, Result)


@pytest.mark.parametrize("function", ["takes_anything", "is_not_there"])
def test_a_handler_that_cannot_be_called_rightly_is_an_error_not_invalid_params(tmp_path, function):
    reply, _ = run(tmp_path, function)
    assert isinstance(reply, Failure) and reply.failure_class == "error"


def test_products_are_summed_without_casas_lock_file(tmp_path):
    first, progress = run(tmp_path / "1", "writes", value="one")
    second, _ = run(tmp_path / "2", "writes", value="another")
    assert isinstance(first, Result) and isinstance(second, Result)
    (product,) = first.products
    assert product.checksum == second.products[0].checksum
    assert (product.kind, product.path, product.size_bytes, product.verdict) == ("calibration", "cal.tbl", 5, "pass")
    assert first.result == {"path": "/published/test.12345678/cal.tbl"}
    assert progress == [Progress(fraction=0.5, message="half way", metrics={"antennas": 3.0})]
