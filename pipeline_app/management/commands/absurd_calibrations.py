"""`manage.py absurd_calibrations list|refuse|accept`: calibrations, and operations on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline_app.models import Calibration
from pipeline_app.operations import CalibrationNotFound
from pipeline_app.sky_text import moment_of
from tasks_app.formats import moment
from tasks_app.management.operations import Target, TargetCommand
from tasks_app.management.printing import table
from tasks_app.operations.operation import row_of

LISTED_MOST = 100
COLUMNS = ("KEY", "OBSERVED", "STRIP", "CALIBRATOR", "VERDICT", "WHY")


class Command(TargetCommand):
    help = (
        "list: the last calibrations. refuse KEY: no target is given it from now on. accept KEY: take that back. "
        "Exit codes: 0 ok, 1 not confirmed, 2 usage, 3 no such calibration, 4 its verdict does not allow it."
    )
    target_kind = "calibration"
    metavar = "KEY"
    target_help = "its number, as in the list"

    def add_readings(self, subparsers: Any) -> None:
        subparsers.add_parser("list", allow_abbrev=False, help=f"the last {LISTED_MOST}, by time of observation")

    def find(self, text: str) -> Target:
        """Return the calibration of that key. Raises CalibrationNotFound."""
        rows = Calibration.objects.filter(pk=int(text)) if text.isdecimal() else Calibration.objects.none()
        row = row_of(rows, CalibrationNotFound(text))
        return Target(key=row.pk, label=f"calibration {row.pk}", identity={"calibration_id": row.pk}, row=row)

    def details_of(self, result: Any) -> Mapping[str, Any]:
        return {"verdict": result.verdict, "reasons": result.reasons}

    def read_list(self, options: dict[str, Any]) -> None:
        rows = list(Calibration.objects.order_by("-mid_mjd")[:LISTED_MOST])
        names = ("id", "mid_mjd", "declination_deg", "calibrator", "verdict", "reasons", "path")
        content = [{name: getattr(row, name) for name in names} for row in rows]
        cells = [
            (
                row.pk,
                moment(moment_of(row.mid_mjd)),
                f"{row.declination_deg:+.1f}",
                row.calibrator,
                row.verdict,
                "; ".join(row.reasons),
            )
            for row in rows
        ]
        lines = table(COLUMNS, cells, right=("KEY",)) if rows else ["no calibration has been solved"]
        self.show(options, {"calibrations": content}, lines)
