"""Run a command as a server should be run. Executed as a program (`launch.py OPTIONS -- ARGV`), stdlib only.

A program of its own, not a preexec function: entering a user namespace needs a process with one thread, and
Python code between fork and exec of a threaded web server may deadlock.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


def enter_namespace() -> None:
    """Become `nobody` in a new user namespace that maps it to the user we are.

    PostgreSQL then sees an ordinary user, while every file stays ours and no permission has to change.
    """
    uid, gid = os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{nobody.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{nobody.pw_gid} {gid} 1")


def become(uid: int) -> None:
    """Give root up for good and be another user."""
    entry = pwd.getpwuid(uid)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(uid)


def end_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the given parent dies; end at once if it already has."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)


def detach(log: str, uid: int | None) -> None:
    """Leave the caller's session, terminal and family; print the pid that the server will have.

    A log that is made here belongs to the user the server will be.
    """
    os.setsid()
    child = os.fork()
    if child:
        print(child, flush=True)
        os._exit(0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if uid is not None:
        os.fchown(output, uid, -1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 256)


def main() -> None:
    """Do what the options ask, in the one order that works, then become the command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--namespace", action="store_true")
    options.add_argument("--uid", type=int)
    options.add_argument("--end-with", type=int, metavar="PARENT_PID")
    options.add_argument("--detach", metavar="LOG")
    options.add_argument("argv", nargs="+")
    chosen = options.parse_args()
    if chosen.end_with:
        end_with(chosen.end_with)
    if chosen.detach:
        detach(chosen.detach, chosen.uid)
    if chosen.namespace:
        enter_namespace()
    if chosen.uid is not None:
        become(chosen.uid)
    os.execvp(chosen.argv[0], chosen.argv)  # noqa: S606 - replacing ourselves is the point


if __name__ == "__main__":
    main()
