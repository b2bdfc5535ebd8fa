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
        """Return the limit's key; it need not be there to be set."""
        scope, name = text.split(" ", 1)
        row = Limit.objects.filter(scope=scope, name=name).first() or Limit(scope=scope, name=name, size=0)
        return Target(key=(scope, name), label=f"{scope} {name}", identity={"scope": scope, "name": name}, row=row)

    def read(self, options: dict[str, Any]) -> None:
        """List all limits."""
        limits = list(Limit.objects.order_by("scope", "name"))
        if options["json"]:
            names = ("scope", "name", "size", "explicit")
            self.write_json([{name: getattr(limit, name) for name in names} for limit in limits])
            return
        for line in table(("SCOPE", "NAME", "SIZE"), [(each.scope, each.name, each.size) for each in limits]):
            self.stdout.write(line)
