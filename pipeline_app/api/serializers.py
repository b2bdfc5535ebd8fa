"""The shapes of the pipeline's resources in the API."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from rest_framework import serializers

from pipeline_app.models import Calibration, ImageVote, Observation, Product, SubbandFile
from tasks_app.api.serializers import RunSerializer


class ProductSerializer(serializers.ModelSerializer[Product]):
    """A published file or directory."""

    observation_id = serializers.IntegerField(allow_null=True)
    file = serializers.SerializerMethodField(help_text="Where it can be fetched; a directory comes as tar.")
    preview = serializers.SerializerMethodField(help_text="Where its picture is, or that of what made it.")

    class Meta:
        model = Product
        fields = (
            "id", "kind", "path", "host", "root", "verdict", "size_bytes", "checksum", "task_id", "run_id", "attempt",
            "task_name", "observation_id", "metrics", "created_at", "file", "preview",
        )  # fmt: skip

    def get_file(self, product: Product) -> str:
        return reverse("pipeline_api:ProductFile", args=[product.pk])

    def get_preview(self, product: Product) -> str:
        return reverse("pipeline_api:ProductPreview", args=[product.pk])


class ImageVoteSerializer(serializers.ModelSerializer[ImageVote]):
    """What one person thinks of an image."""

    class Meta:
        model = ImageVote
        fields = ("voter", "vote", "comment", "voted_at")


class ProductDetailSerializer(ProductSerializer):
    """A product with all that is known of its making."""

    votes = ImageVoteSerializer(many=True, read_only=True, help_text="Of an image, one a person, the last first.")

    class Meta(ProductSerializer.Meta):
        fields = (  # type: ignore[assignment]
            *ProductSerializer.Meta.fields, "inputs", "params", "versions", "votes",
        )  # fmt: skip


class CalibrationSerializer(serializers.ModelSerializer[Calibration]):
    """Solutions and their verdict."""

    observation_id = serializers.IntegerField(allow_null=True)
    reasons = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Calibration
        fields = (
            "id", "task_id", "observation_id", "path", "telescope_name", "mid_mjd", "declination_deg", "calibrator",
            "calibrator_apparent_flux_jy", "refant", "snr_median", "flagged_solutions", "verdict", "reasons",
            "created_at",
        )  # fmt: skip


class ObservationSerializer(serializers.ModelSerializer[Observation]):
    """A tile and how far it has come; times are MJD in UTC."""

    subbands = serializers.IntegerField(source="n_files", help_text="Accepted files.")

    class Meta:
        model = Observation
        fields = (
            "id", "name", "telescope_name", "state", "reason", "role", "run_id", "calibrator",
            "calibrator_apparent_flux_jy", "start_mjd", "mid_mjd", "duration_sec", "declination_deg", "ra_deg",
            "dec_deg", "directory", "expected_subbands", "subbands", "last_file_at", "created_at",
        )  # fmt: skip


class SubbandFileSerializer(serializers.ModelSerializer[SubbandFile]):
    """A raw file."""

    class Meta:
        model = SubbandFile
        fields = (
            "path", "subband", "freq_min_hz", "freq_max_hz", "n_channels", "n_times", "size_bytes", "state", "problem",
            "seen_at",
        )  # fmt: skip


class ObservationDetailSerializer(ObservationSerializer):
    """A tile with its raw files, what its last run made, and how that run stands."""

    missing_subbands = serializers.ListField(child=serializers.IntegerField())
    files = SubbandFileSerializer(source="all_files", many=True)
    products = ProductSerializer(source="last_products", many=True, help_text="Of its last run, 500 at most.")
    calibrations = CalibrationSerializer(source="last_calibrations", many=True, help_text="Solved on it.")
    run = RunSerializer(source="shown_run", allow_null=True)

    class Meta(ObservationSerializer.Meta):
        fields = (  # type: ignore[assignment]
            *ObservationSerializer.Meta.fields, "missing_subbands", "files", "products", "calibrations", "run",
        )  # fmt: skip


class SourceSerializer(serializers.Serializer[Any]):
    """A source and what has been measured of it; fluxes in Jy, times MJD in UTC."""

    name = serializers.CharField()
    measurements = serializers.IntegerField(help_text="Epochs: of each observation the latest measurement.")
    first_mjd = serializers.FloatField(allow_null=True)
    last_mjd = serializers.FloatField(allow_null=True)
    ra_deg = serializers.FloatField(help_text="ICRS.")
    dec_deg = serializers.FloatField(help_text="ICRS.")
    failed = serializers.IntegerField(help_text="Measurements with the verdict fail, left out of mean, min and max.")
    mean_flux_jy = serializers.FloatField(allow_null=True)
    min_flux_jy = serializers.FloatField(allow_null=True)
    max_flux_jy = serializers.FloatField(allow_null=True)
    light_curve = serializers.SerializerMethodField(help_text="Where its light curve is.")

    def get_light_curve(self, source: dict[str, Any]) -> str:
        return reverse("pipeline_api:LightCurve", args=[source["name"]])


class PointSerializer(serializers.Serializer[Any]):
    """One measurement."""

    mid_mjd = serializers.FloatField(allow_null=True)
    flux_jy = serializers.FloatField()
    flux_err_jy = serializers.FloatField()
    snr = serializers.FloatField()
    freq_hz = serializers.FloatField()
    local_rms_jy = serializers.FloatField()
    primary_beam = serializers.FloatField()
    offset_arcsec = serializers.FloatField(allow_null=True)
    catalog_flux_jy = serializers.FloatField(allow_null=True)
    observation = serializers.CharField(source="observation__name", allow_null=True)  # type: ignore[assignment]
    observation_id = serializers.IntegerField(allow_null=True)
    task_id = serializers.UUIDField()
    image_path = serializers.CharField()
    verdict = serializers.CharField(help_text="pass, warn or fail; never better than that of its image.")


class LightCurveSerializer(serializers.Serializer[Any]):
    """The measurements of a source in order of time, of each observation the latest."""

    name = serializers.CharField()
    points = PointSerializer(many=True)
    truncated = serializers.BooleanField(
        help_text="Whether there are more rows; select fewer with mjd_min and mjd_max."
    )
