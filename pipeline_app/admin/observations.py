"""Tiles and raw files in the console."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from pipeline_app.admin import product_files
from pipeline_app.models import Observation, SubbandFile, SubbandState
from tasks_app.admin.reading import ReadOnlyAdmin
from tasks_app.models import Task


class SubbandFileInline(admin.TabularInline):
    """The raw files of a tile."""

    model = SubbandFile
    fields = ["subband", "path", "state", "problem", "size_bytes", "seen_at"]
    readonly_fields = ["subband", "path", "state", "problem", "size_bytes", "seen_at"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Observation | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Observation | None = None) -> bool:
        return False


@admin.register(Observation)
class ObservationAdmin(ReadOnlyAdmin):
    """Tiles, how far each has come, and the release of incomplete ones."""

    list_display = ["name", "state", "reason", "role", "subbands", "declination", "brightest_calibrator", "tasks"]
    list_filter = ["state", "role", "telescope_name"]
    search_fields = ["name", "calibrator", "run_id"]
    inlines = [SubbandFileInline]
    readonly_fields = ["pictures"]
    fields = [
        "name", "telescope_name", "state", "reason", "role", "run_id", "pictures", "calibrator",
        "calibrator_apparent_flux_jy", "declination_deg", "ra_deg", "dec_deg", "start_mjd", "mid_mjd", "duration_sec",
        "expected_subbands", "directory", "last_file_at",
    ]  # fmt: skip
    ordering = ("-start_mjd",)
    sortable_by = ("name", "state", "subbands", "declination", "brightest_calibrator")
    actions = ["release_incomplete"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Observation]:
        accepted = Count("files", filter=Q(files__state=SubbandState.ACCEPTED))
        return super().get_queryset(request).annotate(n_files=accepted)

    @admin.display(ordering="n_files")
    def subbands(self, observation: Observation) -> str:
        """How many files of how many."""
        return f"{observation.n_files} of {observation.expected_subbands or '?'}"  # type: ignore[attr-defined]

    @admin.display(ordering="declination_deg")
    def declination(self, observation: Observation) -> str:
        """The strip."""
        return f"{observation.declination_deg:+.2f}°"

    @admin.display(ordering="calibrator_apparent_flux_jy", description="calibrator in the beam")
    def brightest_calibrator(self, observation: Observation) -> str:
        """The calibrator and what arrives of it."""
        if observation.calibrator_apparent_flux_jy is None:
            return "none"
        return f"{observation.calibrator}, {observation.calibrator_apparent_flux_jy:.2f} Jy"

    @admin.display(description="pictures of the last run")
    def pictures(self, observation: Observation) -> SafeString | str:
        """The plots and images that the last run has made."""
        return product_files.gallery(observation.products.filter(run_id=observation.run_id).order_by("id"))

    @admin.display(description="tasks of the last run")
    def tasks(self, observation: Observation) -> str:
        """Counts by status."""
        if observation.run_id is None:
            return "none yet"
        statuses = [task.display_status for task in Task.objects.filter(run__run_id=observation.run_id)]
        return ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))

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

    list_display = ["path", "observation", "subband", "state", "problem", "seen_at"]
    list_filter = ["state"]
    list_select_related = ["observation"]
    search_fields = ["path"]
