"""The diagnostic task names, registered when ABSURD_DIAGNOSTICS says so."""

from __future__ import annotations

from pydantic import BaseModel

from tasks_app.engine.registry import TaskSpec, register
from workers import diagnostic_handlers as handlers

_NAMES: dict[str, tuple[str, type[BaseModel], str]] = {
    "echo": ("echo", handlers.EchoParams, "Returns what it is given"),
    "noop": ("noop", handlers.NoopParams, "Does nothing, in a thread of the worker"),
    "sleep": ("sleep", handlers.SleepParams, "Sleeps, reporting progress"),
    "fail": ("fail", handlers.FailParams, "Fails in the way it is asked to"),
    "segfault": ("segfault", handlers.SegfaultParams, "Crashes in native code"),
    "hang-in-c": ("hang_in_c", handlers.HangParams, "Hangs in native code, deaf to SIGTERM"),
    "eat-memory": ("eat_memory", handlers.EatMemoryParams, "Takes more and more memory"),
    "chatter": ("chatter", handlers.ChatterParams, "Reports progress and prints without end"),
    "fill-disk": ("fill_disk", handlers.FillDiskParams, "Writes more than there is room for"),
    "overwrite-input": ("overwrite", handlers.OverwriteParams, "Writes into a file that it should only read"),
    "read-file": ("read_file", handlers.ReadParams, "Reads a file"),
    "burn": ("burn", handlers.BurnParams, "Keeps a processor busy"),
    "thread-echo": ("echo", handlers.EchoParams, "As echo, in a thread of the worker"),
    "thread-sleep": ("sleep", handlers.SleepParams, "As sleep, in a thread of the worker"),
    "thread-fail": ("fail", handlers.FailParams, "As fail, in a thread of the worker"),
    "spawn-orphan": ("spawn_orphan", handlers.SpawnOrphanParams, "Leaves a grandchild in a session of its own"),
    "fork-bomb": ("fork_bomb", handlers.ForkBombParams, "Leaves up to 60 processes, each in a session of its own"),
    "kill-worker": ("kill_worker", handlers.KillWorkerParams, "Kills the worker that runs it"),
}
_THREADED = frozenset({"noop", "thread-echo", "thread-sleep", "thread-fail"})
MEMORY_GB = 0.25
_MORE_MEMORY_GB = {"fork-bomb": 1.0}
"""Its processes share most of what is counted for each of them."""


def register_all() -> None:
    """Register every diagnostic task name."""
    for name, (function, params_model, description) in _NAMES.items():
        register(
            TaskSpec(
                name=name,
                handler=f"workers.diagnostic_handlers:{function}",
                params_model=params_model,
                description=description,
                memory_gb=0.0 if name in _THREADED else _MORE_MEMORY_GB.get(name, MEMORY_GB),
                cores=1 if name == "burn" else 0,
                isolation="thread" if name in _THREADED else "process",
            )
        )
