"""`python3 -m absurd_project.local servers|down|running|purge`: for the Makefile, also without a `.venv`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from absurd_project.local import servers
from absurd_project.local.liveness import NotPermitted
from absurd_project.local.locations import state_directory
from absurd_project.local.state import NotAStateDirectory, check_permitted, check_removable, purge, running, take_down


def main() -> int:
    """Run one action; return its exit code."""
    options = argparse.ArgumentParser(prog="python3 -m absurd_project.local", description=__doc__)
    options.add_argument("action", choices=["servers", "down", "running", "purge"])
    options.add_argument("--yes", action="store_true", help="purge without asking")
    chosen = options.parse_args()
    var = state_directory()
    try:
        if chosen.action == "running":
            return 0 if running(var) is not None else 1
        if chosen.action == "servers":
            servers.ensure()
            return 0
        if chosen.action == "down":
            print("\n".join(take_down(var) or [f"nothing runs on {var}"]))
            return 0
        return _purge(var, chosen.yes)
    except (NotAStateDirectory, NotPermitted, TimeoutError, servers.EmbeddedServerError) as error:
        print(error, file=sys.stderr)
        return 1


def _purge(var: Path, agreed: bool) -> int:
    check_permitted(var)
    if not var.exists():
        print(f"{var} does not exist")
        return 0
    check_removable(var)
    if not agreed:
        print(f"This removes {var} for good: database, accounts, products, logs.")
        try:
            agreed = input("Type yes to continue: ").strip().lower() == "yes"
        except EOFError:
            agreed = False
    if not agreed:
        print("nothing was removed")
        return 1
    purge(var)
    print(f"removed {var}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
