"""The pipeline's tables: observations, their files, and the products, calibrations and measurements made from them."""

from __future__ import annotations

from django.contrib.postgres.indexes import GistIndex
from django.db import models
from django.db.models.functions import Coalesce, Collate, Now, Upper
from django.db.models.lookups import StartsWith


class ObservationState(models.TextChoices):
    """How far the ingest has brought a tile; what follows is in the tasks of its run."""

    COLLECTING = "collecting", "collecting subbands"
    INCOMPLETE = "incomplete", "incomplete: no file for too long"
    READY = "ready", "ready to start"
    WAITING = "waiting", "waiting for a calibrator"
    STARTED = "started", "run started"


class Observation(models.Model):
    """One tile: the subband files that share their first integration and their pointing."""

    name = models.CharField(max_length=100, db_index=True, help_text="UTC start of the first integration.")
    telescope_name = models.CharField(max_length=64)
    first_time_ms = models.BigIntegerField(
        help_text="First value of time_array, the key of the tile: milliseconds since 1970 UTC."
    )
    declination_cdeg = models.IntegerField(help_text="Pointing declination in hundredths of a degree, part of the key.")
    start_mjd = models.FloatField(help_text="UTC, start of the first integration.")
    mid_mjd = models.FloatField(help_text="UTC.")
    duration_sec = models.FloatField()
    declination_deg = models.FloatField(help_text="Apparent declination of the pointing: the strip.")
    ra_deg = models.FloatField(help_text="ICRS direction of the pointing at mid-time.")
    dec_deg = models.FloatField(help_text="ICRS direction of the pointing at mid-time.")
    directory = models.CharField(max_length=1000, help_text="Where its first file was found.")
    expected_subbands = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="16 for the DSA-110; unknown for other telescopes."
    )
    state = models.CharField(max_length=10, choices=ObservationState, default=ObservationState.COLLECTING)
    reason = models.TextField(blank=True, help_text="Why it has not started: what is missing or awaited.")
    calibrator = models.CharField(max_length=50, blank=True, help_text="Brightest known calibrator in the beam.")
    calibrator_apparent_flux_jy = models.FloatField(null=True, blank=True, help_text="Its flux times the beam.")
    role = models.CharField(max_length=10, blank=True, help_text="calibrator or target, as in its last run.")
    run_id = models.UUIDField(null=True, blank=True, db_index=True, help_text="Its last run.")
    last_file_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-start_mjd"]
        permissions = [("release_observation", "Can start an incomplete observation")]
        indexes = [
            models.Index(fields=["start_mjd"], name="observation_start"),
            models.Index(fields=["mid_mjd"], name="observation_mid"),
            models.Index(fields=["state", "-start_mjd"], name="observation_state"),
            models.Index(fields=["role", "-start_mjd"], name="observation_role"),
            models.Index(fields=["declination_deg", "ra_deg"], name="observation_pointing"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["telescope_name", "first_time_ms", "declination_cdeg"], name="observation_once"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def missing_subbands(self) -> list[int]:
        """Return the numbers of the expected subbands that have no accepted file."""
        held = set(self.files.filter(state=SubbandState.ACCEPTED).values_list("subband", flat=True))
        return [number for number in range(self.expected_subbands or 0) if number not in held]


class SubbandState(models.TextChoices):
    """What became of a raw file."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate", "another file holds the same subband"
    SUPERSEDED = "superseded", "replaced by another file of the same subband"
    INVALID = "invalid", "not a usable UVH5 file, or unlike the others of its tile"


class SubbandFile(models.Model):
    """One raw file, as it was when it was read."""

    observation = models.ForeignKey(Observation, null=True, blank=True, on_delete=models.PROTECT, related_name="files")
    path = models.CharField(max_length=1000, unique=True)
    subband = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="By frequency on the correlator's grid, 0 is the highest; none off that grid."
    )
    freq_min_hz = models.BigIntegerField(null=True, blank=True, help_text="Centre of the lowest channel.")
    freq_max_hz = models.BigIntegerField(null=True, blank=True, help_text="Centre of the highest channel.")
    n_channels = models.PositiveIntegerField(null=True, blank=True)
    n_times = models.PositiveIntegerField(null=True, blank=True)
    size_bytes = models.BigIntegerField()
    mtime_ns = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=SubbandState)
    problem = models.TextField(blank=True)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["observation", "-freq_min_hz", "id"]
        indexes = [models.Index(fields=["state", "-id"], name="subband_file_state")]
        constraints = [
            models.UniqueConstraint(
                fields=["observation", "freq_min_hz"],
                condition=models.Q(state="accepted"),
                name="one_accepted_file_a_subband",
            ),
            models.UniqueConstraint(
                fields=["observation", "subband"],
                condition=models.Q(state="accepted", subband__isnull=False),
                name="one_accepted_file_a_number",
            ),
            models.CheckConstraint(
                name="only_invalid_files_lack_a_tile",
                condition=models.Q(state="invalid") | models.Q(observation__isnull=False, freq_min_hz__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.path


def accepted_files() -> Coalesce:
    """Return the number of accepted files of an observation, counted for the rows that are shown and no others."""
    files = SubbandFile.objects.filter(observation=models.OuterRef("pk"), state=SubbandState.ACCEPTED)
    counts = files.order_by().values("observation").annotate(number=models.Count("pk")).values("number")
    return Coalesce(models.Subquery(counts), 0)


class Product(models.Model):
    """One published file or directory. The row is the publication; the path is never written again.

    The task and run are named by id without a database constraint, so that products outlive archived tasks.
    """

    task_id = models.UUIDField(db_index=True)
    run_id = models.UUIDField(null=True, blank=True, db_index=True)
    attempt = models.PositiveIntegerField()
    task_name = models.CharField(max_length=100)
    observation = models.ForeignKey(
        Observation, null=True, blank=True, on_delete=models.PROTECT, related_name="products"
    )
    kind = models.CharField(max_length=50)
    path = models.CharField(max_length=1000, unique=True)
    host = models.CharField(max_length=255, blank=True, default="", db_default="", help_text="Host that made it.")
    root = models.CharField(
        max_length=1000, blank=True, default="", db_default="", help_text="Data root of that host it is in."
    )
    size_bytes = models.BigIntegerField(null=True, blank=True)
    checksum = models.CharField(max_length=200, blank=True)
    metrics = models.JSONField(default=dict)
    verdict = models.CharField(max_length=10, blank=True)
    inputs = models.JSONField(default=list, help_text="Paths that it was made from.")
    params = models.JSONField(default=dict, help_text="The task's params as the attempt got them.")
    versions = models.JSONField(default=dict, help_text="Software that made it.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        permissions = [("vote_image", "Can vote on an image")]
        indexes = [
            models.Index(fields=["kind", "-id"], name="product_kind"),
            models.Index(fields=["verdict", "-id"], name="product_verdict"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


class ImageVote(models.Model):
    """What one person thinks of an image, and why."""

    image = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="votes", db_index=False)
    voter = models.CharField(max_length=200, help_text="Such as user:ann.")
    vote = models.CharField(max_length=4, choices=[("good", "good"), ("bad", "bad")])
    comment = models.TextField()
    voted_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-voted_at"]
        constraints = [models.UniqueConstraint(fields=["image", "voter"], name="one_vote_a_person")]

    def __str__(self) -> str:
        return f"{self.vote} by {self.voter}"


class Calibration(models.Model):
    """One set of delay, bandpass and gain tables with its verdict."""

    task_id = models.UUIDField(unique=True)
    observation = models.ForeignKey(
        Observation, null=True, blank=True, on_delete=models.PROTECT, related_name="calibrations"
    )
    path = models.CharField(max_length=1000, unique=True)
    telescope_name = models.CharField(max_length=64, blank=True)
    mid_mjd = models.FloatField(help_text="UTC middle of the calibrator's tile.")
    declination_deg = models.FloatField(help_text="Strip in which it may be used.")
    calibrator = models.CharField(max_length=50, blank=True)
    calibrator_apparent_flux_jy = models.FloatField(null=True, blank=True)
    refant = models.CharField(max_length=50, blank=True)
    snr_median = models.FloatField(null=True, blank=True)
    flagged_solutions = models.FloatField(null=True, blank=True)
    verdict = models.CharField(max_length=10)
    reasons = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-mid_mjd"]
        permissions = [("refuse_calibration", "Can refuse a calibration by hand")]
        indexes = [models.Index(fields=["mid_mjd"], name="calibration_time")]

    def __str__(self) -> str:
        return f"{self.calibrator or 'no calibrator'} at MJD {self.mid_mjd:.4f}: {self.verdict}"


PLACE = models.Func("ra_deg", "dec_deg", function="point", output_field=models.TextField())
"""A source's place, for the index that finds what lies in a box."""

NAME_UPPER = Collate(Upper("name"), "C")
"""A source's name in capitals, for the index that finds how names begin."""


def name_begins(text: str) -> models.Q:
    """Return the condition that a source's name begins as written, in whatever case; by its index."""
    return models.Q(StartsWith(NAME_UPPER, text.upper()))


class Measurement(models.Model):
    """One forced flux: primary-beam-corrected Stokes I at 1.405 GHz unless the task asked for another frequency."""

    task_id = models.UUIDField(db_index=True)
    observation = models.ForeignKey(
        Observation, null=True, blank=True, on_delete=models.PROTECT, related_name="measurements"
    )
    image_path = models.CharField(max_length=1000)
    name = models.CharField(max_length=200)
    mid_mjd = models.FloatField(null=True, blank=True)
    ra_deg = models.FloatField(help_text="ICRS, of the catalogue.")
    dec_deg = models.FloatField(help_text="ICRS, of the catalogue.")
    freq_hz = models.FloatField()
    flux_jy = models.FloatField()
    flux_err_jy = models.FloatField()
    snr = models.FloatField()
    offset_arcsec = models.FloatField(null=True, blank=True)
    catalog_flux_jy = models.FloatField(null=True, blank=True)
    local_rms_jy = models.FloatField()
    primary_beam = models.FloatField()
    verdict = models.CharField(
        max_length=10, blank=True, help_text="Never better than that of the image; empty in rows from before verdicts."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["name", "mid_mjd"], name="measurement_light_curve"),
            GistIndex(PLACE, name="measurement_place"),
            models.Index(fields=["verdict", "-id"], name="measurement_verdict"),
            models.Index(NAME_UPPER, models.F("name"), name="measurement_name"),
        ]
        constraints = [models.UniqueConstraint(fields=["task_id", "name"], name="measured_once_a_task")]

    def __str__(self) -> str:
        return f"{self.name}: {self.flux_jy * 1e3:.2f} ± {self.flux_err_jy * 1e3:.2f} mJy"
