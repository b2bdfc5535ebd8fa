"""Tiles and raw files in the console."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from pipeline_app.admin import tiles
from pipeline_app.admin.filters import occurring
from pipeline_app.models import Observation, SubbandFile, accepted_files
from tasks_app.admin import display, pages
from tasks_app.admin.filters import by_column
from tasks_app.admin.reading import ConsoleList, ReadOnlyAdmin
from tasks_app.models import Task

OBSERVATIONS_MOST = 1000
"""Whose files a search by the observation's name finds."""


class ObservationList(ConsoleList):
    """A page of observations with the tasks of their last runs, asked for together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        runs = [each.run_id for each in self.result_list if each.run_id]
        counts: dict[UUID, Counter[str]] = {run_id: Counter() for run_id in runs}
        tasks = Task.objects.filter(run__run_id__in=runs).select_related("run").defer("params", "result", "error")
        for task in tasks:
            counts[task.run.run_id][task.display_status] += 1  # type: ignore[union-attr]
        for each in self.result_list:
            each.task_counts = counts.get(each.run_id, Counter())


@admin.register(Observation)
class ObservationAdmin(ReadOnlyAdmin):
    """Tiles, how far each has come, and the release of incomplete ones."""

    list_display = [
        "name",
        "stands",
        "role",
        "declination",
        "subbands",
        "brightest_calibrator",
        "tasks",
        "why",
    ]
    list_filter = [by_column("state"), occurring("role")]
    search_fields = ["name__startswith", "run_id"]
    search_help_text = "The beginning of the start time in UTC (2026-10-01T06), or of the run id."
    ordering = ("-start_mjd",)
    actions = ["release_incomplete"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Observation]:
        return super().get_queryset(request).annotate(n_files=accepted_files())

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ObservationList

    @admin.display(description="state")
    def stands(self, observation: Observation) -> SafeString:
        """The state's pill."""
        return display.pill(tiles.state_of(observation, observation.task_counts))  # type: ignore[attr-defined]

    @admin.display
    def subbands(self, observation: Observation) -> str:
        """How many files of how many."""
        return f"{observation.n_files} of {observation.expected_subbands or '?'}"  # type: ignore[attr-defined]

    @admin.display(description="strip")
    def declination(self, observation: Observation) -> str:
        """The strip."""
        return f"{observation.declination_deg:+.2f}°"

    @admin.display(description="calibrator in the beam")
    def brightest_calibrator(self, observation: Observation) -> str:
        """The calibrator and what arrives of it."""
        if observation.calibrator_apparent_flux_jy is None:
            return "none"
        return f"{observation.calibrator}, {observation.calibrator_apparent_flux_jy:.2f} Jy"

    @admin.display(description="tasks of the last run")
    def tasks(self, observation: Observation) -> SafeString | str:
        """Counts by status."""
        counts: Counter[str] = observation.task_counts  # type: ignore[attr-defined]
        pills = [(number, display.pill(status)) for status, number in sorted(counts.items())]
        return format_html_join(" ", "{} {}", pills) or "none yet"

    @admin.display(description="why")
    def why(self, observation: Observation) -> str:
        """What is missing or awaited."""
        return display.first_line(observation.reason)

    def page_of(self, request: HttpRequest, observation: Observation) -> HttpResponse:
        """The page of a tile; there is nothing on it to submit but its release."""
        context = tiles.page_of(observation) | {
            "may_release": observation.state == "incomplete" and self.has_release_permission(request)
        }
        back, title = pages.list_of(Observation), f"Observation {observation}"
        return pages.render(request, "admin/pipeline/tile.html", title=title, back=back, context=context)

    @admin.action(description="Start incomplete observations with the subbands that they have", permissions=["release"])
    def release_incomplete(self, request: HttpRequest, observations: QuerySet[Observation]) -> None:
        """Release the chosen ones that are incomplete; the watching ingest starts them."""
        # Here, because every command loads the admin, and ingest loads astropy.
        from pipeline_app.ingest.register import release

        released = [observation.name for observation in observations if release(observation)]
        if released:
            self.message_user(request, f"released: {', '.join(released)}", messages.SUCCESS)
        else:
            self.message_user(request, "none of these is incomplete; nothing was released", messages.WARNING)

    def has_release_permission(self, request: HttpRequest) -> bool:
        """Whether the user may start incomplete observations."""
        return request.user.has_perm("pipeline_app.release_observation")


@admin.register(SubbandFile)
class SubbandFileAdmin(ReadOnlyAdmin):
    """Raw files, the unusable ones too."""

    list_display = ["place", "observation", "subband", "stands", "problem", "size", "seen"]
    list_display_links = None
    list_filter = [by_column("state")]
    list_select_related = ["observation"]
    search_fields = ["path__startswith"]
    search_help_text = "The beginning of a path or of an observation's name."

    def lookups_of(self, term: str) -> list[Q]:
        found = Observation.objects.filter(name__startswith=term).values_list("pk", flat=True)
        return [*super().lookups_of(term), Q(observation__in=list(found[:OBSERVATIONS_MOST]))]

    @admin.display(description="path")
    def place(self, file: SubbandFile) -> SafeString:
        """Its name and where it is."""
        return display.place(file.path)

    @admin.display(description="state")
    def stands(self, file: SubbandFile) -> SafeString:
        """The state's pill."""
        return display.pill(file.state)

    @admin.display
    def size(self, file: SubbandFile) -> str:
        """Its size."""
        return display.size(file.size_bytes)

    @admin.display(description="seen")
    def seen(self, file: SubbandFile) -> SafeString | str:
        """When it was read."""
        return display.utc(file.seen_at)


pages.add_list(Observation, order=32)
