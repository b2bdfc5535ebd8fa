"""`manage.py absurd_limits list|set|remove`: how many tasks of a queue or of a key are claimed at once."""

from __future__ import annotations

from typing import Any

from tasks_app.management.operations import Target, TargetCommand
from tasks_app.management.printing import table
from tasks_app.models import Limit


class Command(TargetCommand):
    help = "List, set and remove concurrency limits. Exit codes: 0 ok, 2 usage, 3 no such limit or queue."
    target_kind = "limit"
    metavar = "SCOPE NAME"
    target_help = "queue or key, and the name"
    target_parts = 2

    def add_readings(self, subparsers: Any) -> None:
        subparsers.add_parser("list", allow_abbrev=False, help="all limits")

    def find(self, text: str) -> Target:
        """Return the limit's key; the limit need not exist to be set."""
        scope, name = text.split(" ", 1)
        row = Limit.objects.filter(scope=scope, name=name).first() or Limit(scope=scope, name=name, size=0)
        return Target(key=(scope, name), label=text, identity={"scope": scope, "name": name}, row=row)

    def read_list(self, options: dict[str, Any]) -> None:
        rows = list(Limit.objects.order_by("scope", "name").values("scope", "name", "size", "explicit"))
        cells = [(row["scope"], row["name"], row["size"]) for row in rows]
        self.show(options, rows, table(("SCOPE", "NAME", "SIZE"), cells))
