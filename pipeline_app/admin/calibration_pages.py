"""The list of calibrations under their timeline, and the page of each."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from pipeline_app.admin import calibrations
from pipeline_app.admin.calibration_timeline import TIMELINE_MOST, timeline
from pipeline_app.admin.filters import VerdictFilter, occurring
from pipeline_app.admin.metrics_text import figures_of
from pipeline_app.models import Calibration
from pipeline_app.sky_text import moment_of
from tasks_app.admin import display, pages
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.reading import ReadOnlyAdmin


@admin.register(Calibration)
class CalibrationAdmin(OperatingAdmin, ReadOnlyAdmin):
    """Solutions and their verdicts, the last observed first."""

    target_kind = "calibration"
    selected_by_lists = False
    change_list_template = "admin/pipeline/calibrations.html"
    list_display = ["name", "judged", "observed", "strip", "calibrator", "snr", "flagged", "refant", "why"]
    list_filter = [VerdictFilter, occurring("calibrator")]
    list_select_related = ["observation"]
    search_fields = ["observation__name__startswith", "calibrator__startswith", "path__startswith", "task_id"]
    search_help_text = "The beginning of an observation's name, a calibrator or a path, or a task id."
    ordering = ("-mid_mjd",)

    def label_of(self, target: Calibration) -> str:
        return f"calibration of {target.observation}" if target.observation else f"calibration {target.pk}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Calibration]:
        return super().get_queryset(request).select_related("observation")

    @admin.display(description="observation")
    def name(self, row: Calibration) -> SafeString:
        """The tile that it was solved on."""
        return format_html('<span class="position">{}</span>', row.observation or calibrations.name_of(row))

    @admin.display(description="verdict")
    def judged(self, row: Calibration) -> SafeString:
        """The verdict's pill."""
        return display.pill(row.verdict)

    @admin.display(description="observed, UTC")
    def observed(self, row: Calibration) -> SafeString | str:
        """The middle of its tile."""
        return display.utc(moment_of(row.mid_mjd))

    @admin.display
    def strip(self, row: Calibration) -> str:
        """Where it may be used."""
        return f"{row.declination_deg:+.1f}°"

    @admin.display(description="signal to noise")
    def snr(self, row: Calibration) -> str:
        """Median over antennas."""
        return display.NOTHING if row.snr_median is None else f"{row.snr_median:,.0f}"

    @admin.display(description="flagged")
    def flagged(self, row: Calibration) -> str:
        """Fraction of the solutions."""
        return display.NOTHING if row.flagged_solutions is None else f"{100 * row.flagged_solutions:.0f} %"

    @admin.display(description="why")
    def why(self, row: Calibration) -> str:
        """The first reason for anything but a pass."""
        more = f" (and {len(row.reasons) - 1} more)" if len(row.reasons) > 1 else ""
        return f"{display.first_line(row.reasons[0])}{more}" if row.reasons else ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, under the timeline of the last calibrations."""
        last = Calibration.objects.select_related("observation").order_by("-mid_mjd")[:TIMELINE_MOST]
        panel = pages.read_panels({"timeline": lambda: timeline(last)})["timeline"]
        return super().changelist_view(request, {"timeline": panel, **(extra_context or {})})

    def page_of(self, request: HttpRequest, row: Calibration) -> HttpResponse:
        """The page of a calibration; with ?with=KEY compared with another one."""
        title = f"Calibration of {row.observation}" if row.observation else f"Calibration {row.pk}"
        return pages.render(
            request,
            "admin/pipeline/calibration.html",
            title=title,
            back=pages.list_of(Calibration),
            context={**_context(row, request.GET.get("with", "")), "buttons": self.buttons(request, row)},
        )


def _context(row: Calibration, compared: str) -> dict[str, Any]:
    others = calibrations.others_of(row)
    other = next((each for each in others if str(each.pk) == compared), None)
    found = calibrations.solutions_of(row)
    theirs = calibrations.solutions_of(other) if other else calibrations.Found()
    metrics = calibrations.metrics_of(row)
    context: dict[str, Any] = {
        "calibration": row,
        "figures": figures_of("calibration", metrics),
        "fields": metrics.get("field_sources", [])[:50],
        "plot": calibrations.plot_of(row),
        "made": calibrations.made_from(row),
        "others": others,
        "other": other,
        "problem": found.problem,
        "other_problem": theirs.problem,
        "size": calibrations.SIZE,
        "address": reverse("admin:pipeline_app_calibration_change", args=[row.pk]),
    }
    if found.summary:
        panels, top = calibrations.panels(found.summary, metrics, theirs.summary)
        context |= {
            "panels": panels,
            "top": top,
            "freq_ghz": found.summary.freq_ghz,
            "flags": calibrations.flag_map(found.summary),
            "delays": calibrations.delay_chart(found.summary, theirs.summary),
        }
    return context


pages.add_list(Calibration, order=36)
