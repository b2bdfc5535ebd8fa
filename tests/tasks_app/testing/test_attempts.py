from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app.engine import call_handler, registry
from tasks_app.engine.handler import InvalidInput
from tasks_app.errors import UnknownTaskName
from tasks_app.files import manifest
from tasks_app.testing import LocalContext, registered, run_handler
from tests.tasks_app.kit_handlers import spec
from workers.process import run_handler as running

WAYS = ["well", "error", "invalid", "no_work", "memory", "exit", "nan", "list", "foreign", "not known"]


def test_a_handler_runs_without_a_database(tmp_path):
    with registered(spec()):
        ran = run_handler("kit", {"message": "hello"}, directory=tmp_path, attempt=2)
    assert (ran.outcome, ran.result["attempt"], ran.task) == ("completed", 2, None)
    path = Path(ran.result["path"])
    assert path.read_text() == "hello"
    size_bytes, checksum = manifest.measure(path)
    assert ran.products == (
        {
            "kind": "text",
            "path": str(path),
            "metrics": {"characters": 5},
            "verdict": None,
            "inputs": ["/data/raw"],
            "size_bytes": size_bytes,
            "checksum": checksum,
        },
    )
    assert ran.progress == ((0.5, "half"),)


def test_without_a_directory_it_gets_one_that_stays():
    with registered(spec()):
        first, second = (run_handler("kit", {"message": text}) for text in "ab")
    assert [Path(ran.result["path"]).read_text() for ran in (first, second)] == ["a", "b"]


def test_what_the_handler_raised_can_be_looked_at():
    with registered(spec()):
        ran = run_handler("kit", {"how": "invalid", "message": "not a tile"})
    assert (ran.outcome, ran.error) == ("invalid", "not a tile")
    assert isinstance(ran.exception, InvalidInput) and "not a tile" in ran.traceback


@pytest.mark.parametrize("function", ["run", "without_model", "missing"])
@pytest.mark.parametrize("how", WAYS)
def test_the_outcome_is_the_one_that_a_worker_would_report(how, function, tmp_path):
    params = {"how": how}
    with registered(spec(function=function)):
        ran = run_handler("kit", params, directory=tmp_path / "kit")
    context = LocalContext(tmp_path / "worker")

    def finish(outcome):
        return running.Result(result=call_handler.plain_result(outcome), products=running.product_notes(context))

    reply = running.run_handler(f"tests.tasks_app.kit_handlers:{function}", params, context, finish)
    if ran.outcome == "completed":
        assert ran.result.keys() == reply.result.keys()
        theirs = [note.model_dump(exclude={"path"}) | {"inputs": list(note.inputs)} for note in reply.products]
        assert [{k: v for k, v in product.items() if k != "path"} for product in ran.products] == theirs
    else:
        assert (ran.outcome, ran.error) == (reply.failure_class, reply.message)
        assert ran.traceback.startswith("Traceback") and reply.traceback.startswith("Traceback")


def test_an_interruption_of_the_test_is_not_taken_for_a_failure():
    with registered(spec(function="interrupted")), pytest.raises(KeyboardInterrupt):
        run_handler("kit", {})


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownTaskName, match="unknown task name"):
        run_handler("kit", {})


def test_a_name_is_known_only_inside_the_block():
    with pytest.raises(ZeroDivisionError), registered(spec("a"), spec("b")):
        assert {"a", "b"} <= set(registry.names())
        raise ZeroDivisionError
    assert not {"a", "b"} & set(registry.names())


def test_a_name_that_was_known_before_is_known_afterwards():
    with registered(spec()):
        with registered(spec()):
            pass
        assert registry.find("kit") == spec()
        with pytest.raises(ValueError, match="already registered"), registered(spec("other"), spec(cores=2)):
            pass
        assert registry.find("other") is None and registry.find("kit") == spec()
