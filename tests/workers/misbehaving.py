"""Handlers whose results, messages and descriptors no queue wants; `mode` chooses. No Django."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pydantic import BaseModel

from tasks_app.engine.handler import Context, InvalidInput, NoWork

NOT_UTF8 = os.fsdecode(b"ob\xffs.ms")


class Params(BaseModel):
    mode: str


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class MuteInvalid(Mute, InvalidInput):
    pass


class Quarrelsome(Exception):
    def __eq__(self, other: object) -> bool:
        raise ValueError("not comparable")

    __hash__ = None  # type: ignore[assignment]


def run(params: Params, context: Context) -> Any:
    return globals()[f"m_{params.mode}"](context)


def m_mute(context: Context) -> None:
    raise Mute


def m_mute_invalid(context: Context) -> None:
    raise MuteInvalid


def m_mute_in_chain(context: Context) -> None:
    try:
        raise Quarrelsome("first")
    except Quarrelsome as error:
        raise RuntimeError("second") from error


def m_surrogate_message(context: Context) -> None:
    raise RuntimeError(f"cannot read {NOT_UTF8}")


def m_nul_message(context: Context) -> None:
    raise InvalidInput("bad\0header")


def m_nul_no_work(context: Context) -> None:
    raise NoWork(f"nothing in {NOT_UTF8}\0")


def m_long_message(context: Context) -> None:
    raise RuntimeError("begin" + "z" * 5_000_000 + "end")


def m_exit_with_odd_code(context: Context) -> None:
    sys.exit(NOT_UTF8)


def m_surrogate_result(context: Context) -> Any:
    return {"path": NOT_UTF8, "list": ["a\0b"]}


def m_nul_key(context: Context) -> Any:
    return {"a\0b": 1}


def m_big_integer(context: Context) -> Any:
    return {"inner": {"n": 10**5000}}


def m_not_a_number(context: Context) -> Any:
    return {"n": float("nan")}


def m_deep(context: Context) -> Any:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    return {"v": value}


def m_cyclic(context: Context) -> Any:
    value: dict[str, Any] = {}
    value["me"] = value
    return value


def m_large_result(context: Context) -> Any:
    return {"x": "y" * 40_000_000}


def m_odd_progress(context: Context) -> Any:
    context.progress("half", 5)  # type: ignore[arg-type]
    context.progress(float("nan"), f"{NOT_UTF8}\0", **{"a\0b": 1.0, "\udcff": 2.0, "n": 10**400, "s": "x"})  # type: ignore[arg-type]
    context.progress(0.5, "m" * 1_000_000, **{f"k{n}" * 1000: 1.0 for n in range(2000)})
    return {"ok": 1}


def m_surrogate_product(context: Context) -> Any:
    path = context.output(os.fsdecode(b"im\xffage.txt"))
    path.write_text("x")
    context.product("text", path)
    return {}


def m_odd_product(context: Context) -> Any:
    path = context.output("a.txt")
    path.write_text("x")
    context.product("te\0xt", path, metrics={"s\0": "a\0b"}, verdict=NOT_UTF8, inputs=[NOT_UTF8])
    return {}


def m_closed_streams(context: Context) -> Any:
    context.progress(0.1, "before")
    sys.stdout.close()
    sys.stderr.close()
    context.progress(0.5, "after")
    return {"ok": 1}


def m_closed_streams_and_error(context: Context) -> Any:
    sys.stdout.close()
    sys.stderr.close()
    raise RuntimeError("the real reason")


def m_no_streams_and_error(context: Context) -> Any:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    raise RuntimeError("the real reason")


def m_closed_descriptors(context: Context) -> Any:
    path = context.output("table.dat")
    os.closerange(1, 256)
    files = [open(path, "wb", buffering=0)]  # noqa: SIM115, PTH123
    files[0].write(b"SCIENCE DATA\n")
    files += [open(context.scratch_dir / f"f{n}", "wb") for n in range(20)]  # noqa: SIM115, PTH123
    context.product("text", path)
    return {"ok": 1}


def m_all_descriptors_closed(context: Context) -> Any:
    os.closerange(1, 4096)
    return {"ok": 1}


def m_fork_that_returns(context: Context) -> Any:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return {"who": "parent" if pid else "fork"}


def m_pipe_as_output(context: Context) -> Any:
    os.mkfifo(context.output("pipe"))
    context.product("text", context.output("pipe"))
    return {}


def m_stopped_guardian(context: Context) -> Any:
    os.kill(os.getppid(), signal.SIGSTOP)
    context.progress(0.5, "stopped")
    signal.pause()
