"""The state machine: the only package that writes `Task.status`.

Every move is legal by the table, closes the open attempt, frees the slots of limits, settles the tasks that depend on
this one and writes one numbered event, all in the caller's transaction. What a worker does many times a second, claim
and complete, and what a caller does by the thousand, insert, are single statements over many tasks.
"""

from tasks_app.transitions.claims import Claimed, claim
from tasks_app.transitions.completion import Ended, complete
from tasks_app.transitions.insertion import insert
from tasks_app.transitions.moving import Act, admit, announce, condemn, move, record, release, settle
from tasks_app.transitions.table import LEGAL

__all__ = [
    "LEGAL",
    "Act",
    "Claimed",
    "Ended",
    "admit",
    "announce",
    "claim",
    "complete",
    "condemn",
    "insert",
    "move",
    "record",
    "release",
    "settle",
]
