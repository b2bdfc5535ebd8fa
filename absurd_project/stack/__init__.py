"""The processes of one machine kept running together: web, workers, ingest. Used by absurd_up and by the demo.

with Stack([web_process(8000), worker_process(1)], var=var) as stack:
    while not done:
        stack.poll()
"""

from __future__ import annotations

from absurd_project.stack.claim import AlreadyRunning, running, stop_running
from absurd_project.stack.output import LogFiles, Output, PrefixedLines
from absurd_project.stack.ports import PortBusy, check_port, is_open
from absurd_project.stack.processes import (
    Process,
    default_processes,
    ingest_process,
    web_process,
    worker_process,
)
from absurd_project.stack.supervisor import Stack

__all__ = [
    "AlreadyRunning",
    "LogFiles",
    "Output",
    "PortBusy",
    "PrefixedLines",
    "Process",
    "Stack",
    "check_port",
    "default_processes",
    "ingest_process",
    "is_open",
    "running",
    "stop_running",
    "web_process",
    "worker_process",
]
