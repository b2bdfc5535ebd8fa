"""Diagnostic task names: handlers that misbehave on request, for tests, trials and the benchmark.

They are registered when ABSURD_DIAGNOSTICS is true. They run in the child: no Django.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field

from tasks_app.engine.handler import Context, InvalidInput, NoWork
from tasks_app.engine.options import TIMEOUT_MOST_SEC
from tasks_app.engine.registry import TaskSpec, register

Handler = TypeVar("Handler", bound=Callable[..., Any])
MEMORY_GB = 0.25

_specs: list[TaskSpec] = []


def diagnostic(
    name: str, *, threaded: bool = False, memory_gb: float = MEMORY_GB, cores: int = 0
) -> Callable[..., Any]:
    """Declare a handler under a task name, with its docstring as the description; `threaded` runs it in the worker."""

    def declare(handler: Handler) -> Handler:
        _specs.append(
            TaskSpec(
                name=name,
                handler=f"{__name__}:{handler.__name__}",
                params_model=get_type_hints(handler)["params"],
                description=(handler.__doc__ or "").split("\n")[0],
                memory_gb=0.0 if threaded else memory_gb,
                cores=cores,
                isolation="thread" if threaded else "process",
            )
        )
        return handler

    return declare


def register_all() -> None:
    """Register every diagnostic task name."""
    for spec in _specs:
        register(spec)


class Params(BaseModel):
    """Base of the diagnostic params."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EchoParams(Params):
    """What to return, and texts to write as outputs by name; each is declared as a product of kind `text`."""

    value: Any = None
    outputs: dict[str, str] = Field(default_factory=dict)
    then_sleep_sec: float = Field(default=0.0, ge=0, le=TIMEOUT_MOST_SEC)


@diagnostic("echo")
@diagnostic("thread-echo", threaded=True)
def echo(params: EchoParams, context: Context) -> dict[str, Any]:
    """Return the value that was given, and the paths of the products that were requested."""
    paths = []
    for name, text in params.outputs.items():
        path = context.output(name)
        path.write_text(text)
        context.product("text", path, metrics={"characters": len(text)})
        paths.append(context.published(path))
    time.sleep(params.then_sleep_sec)
    return {"value": params.value, "paths": paths}


@diagnostic("noop", threaded=True)
def noop(params: Params, context: Context) -> None:
    """Do nothing."""


class SleepParams(Params):
    """How long to sleep, in how many steps with progress."""

    seconds: float = Field(ge=0, le=TIMEOUT_MOST_SEC)
    steps: int = Field(default=10, ge=1)


@diagnostic("sleep")
@diagnostic("thread-sleep", threaded=True)
def sleep(params: SleepParams, context: Context) -> dict[str, float]:
    """Sleep, reporting progress after each step."""
    for step in range(params.steps):
        context.progress(step / params.steps, f"step {step + 1} of {params.steps}")
        time.sleep(params.seconds / params.steps)
    return {"slept_sec": params.seconds}


class UntilParams(Params):
    """From attempt `succeed_on_attempt` on, the handler succeeds."""

    succeed_on_attempt: int | None = Field(default=None, ge=1)

    def succeeds(self, context: Context) -> bool:
        return self.succeed_on_attempt is not None and context.attempt >= self.succeed_on_attempt


class FailParams(UntilParams):
    """How to fail."""

    failure: Literal["error", "invalid", "no_work", "memory", "exit", "nan"] = "error"
    message: str = "failing as asked"


@diagnostic("fail")
@diagnostic("thread-fail", threaded=True)
def fail(params: FailParams, context: Context) -> dict[str, float]:
    """Fail in the requested way."""
    if params.succeeds(context):
        return {"attempt": context.attempt}
    if params.failure == "exit":
        os._exit(3)
    if params.failure == "nan":
        return {"rms_jy": float("nan")}
    kinds = {"error": RuntimeError, "invalid": InvalidInput, "no_work": NoWork, "memory": MemoryError}
    raise kinds[params.failure](params.message)


@diagnostic("segfault")
def segfault(params: UntilParams, context: Context) -> dict[str, float]:
    """Read from address zero, as native code does now and then."""
    if not params.succeeds(context):
        ctypes.string_at(0)
    return {"attempt": context.attempt}


class HangParams(Params):
    """How long to hang."""

    seconds: int = Field(default=3600, ge=1)


@diagnostic("hang-in-c")
def hang_in_c(params: HangParams, context: Context) -> dict[str, float]:
    """Block SIGTERM and sleep inside a C call that keeps Python's global lock, as a stuck library would."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    context.progress(None, "hanging")
    remaining = params.seconds
    while remaining > 0:  # a signal wakes the C library's sleep, which returns what was left of it
        remaining = ctypes.PyDLL(None).sleep(remaining)
    return {}


class EatMemoryParams(Params):
    """How much to take, how fast, and for how long to hold it."""

    memory_gb: float = Field(gt=0)
    step_mb: int = Field(default=64, ge=1)
    hold_sec: float = Field(default=60.0, ge=0, le=TIMEOUT_MOST_SEC)


@diagnostic("eat-memory")
def eat_memory(params: EatMemoryParams, context: Context) -> dict[str, float]:
    """Allocate memory and touch every page of it."""
    step_bytes = params.step_mb * 1024 * 1024
    held: list[bytes] = []
    while len(held) * step_bytes < params.memory_gb * 1e9:
        held.append(b"\x01" * step_bytes)
        context.progress(None, f"{len(held) * step_bytes / 1e9:.2f} GB")
        time.sleep(0.01)
    time.sleep(params.hold_sec)
    return {"memory_gb": len(held) * step_bytes / 1e9}


LINES_A_MB_LOG2 = 14


class ChatterParams(Params):
    """How many times to report progress, and how much to print."""

    reports: int = Field(default=0, ge=0)
    print_mb: int = Field(default=0, ge=0)
    then_sleep_sec: float = Field(default=0.0, ge=0, le=TIMEOUT_MOST_SEC)


@diagnostic("chatter")
def chatter(params: ChatterParams, context: Context) -> dict[str, float]:
    """Report and print as fast as can be; every printed line has its number."""
    began = time.process_time()
    for number in range(1, params.reports + 1):
        context.progress(number / params.reports, f"report {number}", number=number)
    took_sec = time.process_time() - began
    lines = range(params.print_mb << LINES_A_MB_LOG2)
    for first in lines[:: 1 << LINES_A_MB_LOG2]:
        numbers = range(first, first + (1 << LINES_A_MB_LOG2))
        sys.stdout.write("".join(f"line {number:10d} {'.' * 47}\n" for number in numbers))
    time.sleep(params.then_sleep_sec)
    return {"reporting_cpu_sec": took_sec}


class FillDiskParams(Params):
    """How much to write into an output, or that a device which is always full is written to."""

    write_gb: float = Field(default=0.0, ge=0)
    full_device: bool = False
    then_sleep_sec: float = Field(default=0.0, ge=0, le=TIMEOUT_MOST_SEC)


@diagnostic("fill-disk")
def fill_disk(params: FillDiskParams, context: Context) -> dict[str, float]:
    """Write until the disk has taken all."""
    with context.output("filling").open("wb") as stream:
        while stream.tell() < params.write_gb * 1e9:
            stream.write(bytes(1 << 24))
    if params.full_device:
        Path("/dev/full").write_text("more")
    time.sleep(params.then_sleep_sec)
    return {"write_gb": params.write_gb}


class FileParams(Params):
    """Which file, below a data root where it is written to."""

    path: str


@diagnostic("overwrite-input")
def overwrite(params: FileParams, context: Context) -> dict[str, str]:
    """Write a file's first byte over itself, which makes it no other file but one that was written to."""
    if not any(Path(params.path).resolve().is_relative_to(root.resolve()) for root in context.data_roots):
        raise InvalidInput(f"{params.path} is not below a data root")
    with Path(params.path).open("r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(first)
    return {"path": params.path}


@diagnostic("read-file")
def read_file(params: FileParams, context: Context) -> dict[str, int]:
    """Return the size of a file. Raises InvalidInput when there is none, as stages do of their inputs."""
    context.progress(None, f"reading {params.path}")
    path = Path(params.path)
    if not path.exists():
        raise InvalidInput(f"there is no file {path}")
    return {"size_bytes": len(path.read_bytes())}


class BurnParams(Params):
    """How much processor time to use, and how much to write to the disk first, by a helper process or not."""

    cpu_sec: float = Field(default=10.0, ge=0, le=TIMEOUT_MOST_SEC)
    write_mb: int = Field(default=0, ge=0)
    helper: bool = False


@diagnostic("burn", cores=1)
def burn(params: BurnParams, context: Context) -> dict[str, float]:
    """Write, then calculate."""
    path = context.scratch_dir / "written"
    code = f"open({str(path)!r}, 'wb').write(bytes({params.write_mb} << 20))"
    if params.helper:
        subprocess.run([sys.executable, "-c", code], check=True)
    else:
        path.write_bytes(bytes(params.write_mb << 20))
    began, rounds, reported = time.process_time(), 0, -1.0
    while (done := (time.process_time() - began) / max(params.cpu_sec, 1e-9)) < 1:
        if done >= reported + 0.05:
            context.progress(done, "calculating", rounds=rounds)
            reported = done
        rounds += bool(sum(range(1000)))
    return {"rounds": rounds, "cpu_sec": time.process_time()}


class SpawnOrphanParams(Params):
    """For how long the orphan and the handler itself live."""

    orphan_sec: int = Field(default=600, ge=1, le=TIMEOUT_MOST_SEC)
    seconds: float = Field(default=600, ge=0, le=TIMEOUT_MOST_SEC)


@diagnostic("spawn-orphan")
def spawn_orphan(params: SpawnOrphanParams, context: Context) -> dict[str, int]:
    """Start a grandchild that leaves the session and ignores SIGTERM, then wait; its pid is the progress message."""
    code = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep({params.orphan_sec})"
    middle = (
        "import subprocess, sys;"
        f"argv = [sys.executable, '-c', {code!r}];"
        "print(subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True).pid, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", middle], stdout=subprocess.PIPE, check=True, start_new_session=True)
    pid = int(done.stdout)
    context.progress(None, f"orphan {pid}")
    time.sleep(params.seconds)
    return {"pid": pid}


class ForkBombParams(Params):
    """How many processes, and for how long the handler waits afterwards."""

    processes: int = Field(default=60, ge=1, le=60)
    seconds: float = Field(default=600, ge=0, le=TIMEOUT_MOST_SEC)


@diagnostic("fork-bomb", memory_gb=1.0)
def fork_bomb(params: ForkBombParams, context: Context) -> dict[str, int]:
    """Start processes that start processes, each in a session of its own and ignoring SIGTERM."""
    reader, writer = os.pipe()
    _multiply(params.processes, writer)
    started = 0
    while started < params.processes:
        started += len(os.read(reader, params.processes))
    context.progress(None, f"{started} processes")
    time.sleep(params.seconds)
    return {"processes": started}


def _multiply(wanted: int, writer: int) -> None:
    """Start this many processes, half of what is left by each."""
    while wanted > 0:
        share = (wanted + 1) // 2
        if os.fork() == 0:
            try:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.write(writer, b".")
                _multiply(share - 1, writer)
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        wanted -= share


@diagnostic("kill-worker")
def kill_worker(params: UntilParams, context: Context) -> dict[str, int]:
    """Kill the worker, as a task does that makes its host run out of memory."""
    if params.succeeds(context):
        return {"attempt": context.attempt}
    worker = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
    if b"runworker" not in Path(f"/proc/{worker}/cmdline").read_bytes():
        raise RuntimeError(f"the guardian's parent, process {worker}, is no worker")
    print(f"ERROR: killing worker {worker}", flush=True)
    os.kill(worker, signal.SIGKILL)
    time.sleep(60)
    return {"attempt": context.attempt}
