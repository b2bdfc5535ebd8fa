"""`manage.py absurd_images list|vote`: images, and votes on them."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q

from pipeline_app.models import Product
from pipeline_app.operations import ImageNotFound
from pipeline_app.sky_text import flux_density
from tasks_app.management.operations import Target, TargetCommand
from tasks_app.management.printing import table
from tasks_app.operations.operation import row_of

LISTED_MOST = 100
COLUMNS = ("KEY", "OBSERVATION", "VERDICT", "RMS", "GOOD", "BAD", "PATH")


class Command(TargetCommand):
    help = (
        "list: the last images with their votes. vote KEY --vote good|bad --reason COMMENT: say what you think of one. "
        "Exit codes: 0 ok, 2 usage, 3 no such image."
    )
    target_kind = "image"
    metavar = "KEY"
    target_help = "its number, as in the list"

    def add_readings(self, subparsers: Any) -> None:
        subparsers.add_parser("list", allow_abbrev=False, help=f"the last {LISTED_MOST}")

    def find(self, text: str) -> Target:
        """Return the image of that key. Raises ImageNotFound."""
        rows = Product.objects.filter(pk=int(text), kind="image") if text.isdecimal() else Product.objects.none()
        row = row_of(rows, ImageNotFound(text))
        return Target(key=row.pk, label=f"image {row.pk}", identity={"product_id": row.pk}, row=row)

    def read_list(self, options: dict[str, Any]) -> None:
        good, bad = (Count("votes", filter=Q(votes__vote=vote)) for vote in ("good", "bad"))
        found = Product.objects.filter(kind="image").select_related("observation").annotate(good=good, bad=bad)
        rows = list(found.defer("inputs", "params", "versions").order_by("-id")[:LISTED_MOST])
        content = [
            {
                "id": row.pk,
                "observation": str(row.observation or ""),
                "verdict": row.verdict,
                "rms_jy": row.metrics.get("rms_jy"),
                "good": row.good,
                "bad": row.bad,
                "path": row.path,
            }
            for row in rows
        ]
        cells = [tuple({**each, "rms_jy": flux_density(each["rms_jy"], unit="/beam")}.values()) for each in content]
        lines = table(COLUMNS, cells, right=("KEY", "GOOD", "BAD")) if rows else ["no image has been made"]
        self.show(options, {"images": content}, lines)
