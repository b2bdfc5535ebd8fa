"""Flux measurements: one row a source and epoch, from which light curves are drawn."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from pipeline_app.models.observation import Observation


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
        indexes = [models.Index(fields=["name", "mid_mjd"], name="measurement_light_curve")]
        constraints = [models.UniqueConstraint(fields=["task_id", "name"], name="measured_once_a_task")]

    def __str__(self) -> str:
        return f"{self.name}: {self.flux_jy * 1e3:.2f} ± {self.flux_err_jy * 1e3:.2f} mJy"
