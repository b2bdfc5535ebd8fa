"""The state machine: the only package that writes `Task.status`.

Every move is legal by the table, closes the open attempt, frees the slots of limits, settles the tasks that depend on
this one and writes one numbered event, all in the caller's transaction. Each of them moves many tasks in as many
statements as one: a claim, a completion and an insertion is one, a move of any other kind a few.
"""

from tasks_app.transitions.claims import Claimed, claim
from tasks_app.transitions.completion import Ended, complete
from tasks_app.transitions.insertion import insert
from tasks_app.transitions.moving import Move, admit, condemn, move, move_many, release, set_ranks, settle
from tasks_app.transitions.recording import Act, Record, announce, record, record_many
from tasks_app.transitions.table import LEGAL

__all__ = [
    "LEGAL",
    "Act",
    "Claimed",
    "Ended",
    "Move",
    "Record",
    "admit",
    "announce",
    "claim",
    "complete",
    "condemn",
    "insert",
    "move",
    "move_many",
    "record",
    "record_many",
    "release",
    "set_ranks",
    "settle",
]
