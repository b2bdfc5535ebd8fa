"""Solved calibrations: the ones that targets may be tied to, and the refused ones."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from pipeline_app.models.observation import Observation


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
        indexes = [models.Index(fields=["mid_mjd"], name="calibration_time")]

    def __str__(self) -> str:
        return f"{self.calibrator or 'no calibrator'} at MJD {self.mid_mjd:.4f}: {self.verdict}"
