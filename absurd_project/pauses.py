"""What the interpreter itself makes the requests of a web process wait for, kept short."""

from __future__ import annotations

import gc
import sys

TURN_SEC = 0.001
"""How long a thread that computes, such as one that makes up a long list, keeps the others from going on."""


def shorten() -> None:
    """Let threads take turns more often, and spare the garbage collector all that is loaded by now and stays."""
    sys.setswitchinterval(TURN_SEC)
    gc.collect()
    gc.freeze()
