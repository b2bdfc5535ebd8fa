"""The interface of the engines that clean, and the default one: ducc0 grids, Radler (WSClean's, as a library) cleans.

Hogbom's CLEAN in WSClean's variant: components are taken anywhere down to `mask_nsigma` times the noise, then only
where there are some already, down to `nsigma` times the noise (Offringa & Smirnov 2017, MNRAS 471, 301). After every
major cycle the residual is computed again from the visibilities, through the beam of each time and frequency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import radler
from astropy.io import fits
from astropy.stats import mad_std
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from pipeline_app.casa import threads
from pipeline_app.casa.fits_images import Beam, Grid, SkyImage, fit_beam
from pipeline_app.casa.forced_fit import BeamShape
from pipeline_app.casa.gridding import ACCURACY, BeamTerms, Gridder, beam_terms, predict_through_beam
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.stokes import ImagingWeights, StokesI
from pipeline_app.stages.imaging import ImagingParams


@dataclass(frozen=True, kw_only=True)
class ImagingJob:
    """What an engine is asked for."""

    params: ImagingParams
    data: StokesI
    weights: ImagingWeights
    track: BeamTrack
    grid: Grid
    scratch_dir: Path
    progress: Callable[[float, str], None]
    """Called with the fraction of the engine's work that is done, 0 to 1, and a message."""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A cleaned image and its parts; all planes (n_y, n_x) of apparent brightness."""

    flat: SkyImage
    """Restored: the model convolved with the beam, plus the residual, Jy/beam."""
    model: NDArray[np.float32]
    """Clean components, Jy/pixel."""
    residual: NDArray[np.float32]
    """Jy per dirty beam."""
    psf: NDArray[np.float32]
    """Dirty beam, 1 at its peak, which is at n // 2."""
    iterations: int
    major_cycles: int
    stop_reason: str
    diverged: bool


def restore(model: NDArray[np.float32], residual: NDArray[np.float32], beam: Beam, header: fits.Header) -> SkyImage:
    """Return the model convolved with a Gaussian of height 1, plus the residual."""
    wcs = WCS(header).celestial
    cell_arcsec = abs(float(wcs.wcs.cdelt[1])) * 3600.0
    half = int(np.ceil(2.5 * beam.major_arcsec / cell_arcsec))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    kernel = BeamShape.of(beam, cell_arcsec).at(x, y)
    data = fftconvolve(model.astype(float), kernel, mode="same") + residual
    return SkyImage(data=data, header=header, wcs=wcs, beam=beam)


MAJOR_CYCLES = 12
MAX_MAJOR_GAIN, MIN_MAJOR_GAIN = 0.85, 0.5
"""Of the peak, the part that one major cycle may take; with less than half the cycles would not reach the noise."""
FAR_BEAMS = 10.0
"""The dirty beam of the phase centre fits a source elsewhere up to about so far from it, see `major_gain`."""
MINOR_GAIN = 0.1
TERMS_NSIGMA = 10.0
"""Components fainter than this many times the noise are predicted with the mean beam: 10 % of them in a sidelobe
of 10 % is then a tenth of the noise. Weaker terms than the first are left out where they too amount to no more."""
FAINT_ACCURACY = 2e-3
"""Of gridding and degridding once little is left: the error stays that of the first cycle or far below the noise."""
DIVERGED = 2.0
"""Growth of the residual's noise over its least that means divergence."""
CYCLES_EXPECTED = 5


def clean(job: ImagingJob) -> Cleaned:
    """Clean with beam terms."""
    gridder = Gridder(job.data, job.weights, job.grid)
    job.progress(0.0, "gridding the point spread function")
    psf = gridder.psf()
    job.progress(0.07, "gridding the dirty image")
    residual = gridder.image(job.data.values)
    beam = fit_beam(psf, job.grid.cell_arcsec)
    header = job.grid.header(job.data.info, job.weights.effective_freq_hz(job.data.info.freqs_hz), beam)
    terms = beam_terms(
        WCS(header).celestial,
        psf.shape,
        job.data.info,
        job.track,
        job.weights,
        spectral_index=job.params.spectral_index,
    )
    loop = _Loop(job, gridder, psf, residual, terms, beam)
    loop.run()
    return Cleaned(
        flat=restore(loop.model, loop.residual, beam, header),
        model=loop.model,
        residual=loop.residual,
        psf=psf,
        iterations=loop.iterations,
        major_cycles=loop.cycles,
        stop_reason=loop.stop_reason,
        diverged=loop.diverged,
    )


def major_gain(psf: NDArray[np.float32], beam: Beam, cell_arcsec: float) -> float:
    """Return the part of the peak that one major cycle may take with this dirty beam (n_y, n_x) and its fitted lobe.

    Minor cycles subtract the dirty beam of the phase centre. That of a source elsewhere is stretched by its w terms, a
    per cent of the distance from the source: far sidelobes are displaced by a fraction of their width, and what remains
    of them must not be taken for sources. So a cycle goes no deeper than the highest far sidelobe of what it began
    with, which is tclean's rule for all sidelobes. It matters where a band of few subbands leaves them high.
    """
    y, x = np.ogrid[: psf.shape[0], : psf.shape[1]]
    far_pix = FAR_BEAMS * beam.major_arcsec / cell_arcsec
    far = np.hypot(y - psf.shape[0] // 2, x - psf.shape[1] // 2) > far_pix
    sidelobe = float(np.abs(psf[far]).max(initial=0.0))
    return float(np.clip(1.0 - sidelobe, MIN_MAJOR_GAIN, MAX_MAJOR_GAIN))


class _Loop:
    """Minor cycles in Radler, major cycles in ducc0."""

    def __init__(
        self,
        job: ImagingJob,
        gridder: Gridder,
        psf: NDArray[np.float32],
        residual: NDArray[np.float32],
        terms: BeamTerms,
        beam: Beam,
    ) -> None:
        self.job, self.gridder, self.psf, self.residual, self.terms = job, gridder, psf, residual, terms
        self.model = np.zeros_like(residual)
        self.iterations = self.cycles = 0
        self.stop_reason, self.diverged = "no iterations asked for", False
        self._beam = beam
        self._least_noise_jy = max(float(mad_std(residual)), 1e-30)
        self._first_peak_jy = float(np.abs(residual).max())

    def run(self) -> None:
        """Clean until the threshold or a limit is reached; `residual` and `model` are changed in place."""
        if not self.job.params.niter:
            return
        remaining = self.job.data.values.copy()
        settings = _settings(self.job, major_gain(self.psf, self._beam, self.job.grid.cell_arcsec))
        beam_rad = np.radians(self._beam.major_arcsec / 3600.0)
        deconvolver = radler.Radler(settings, self.psf, self.residual, self.model, beam_rad)
        going_on = True
        while going_on and self.cycles < MAJOR_CYCLES:
            self._report(f"searching components, {self.iterations} so far")
            before = self.model.copy()
            going_on = deconvolver.perform(self.cycles)
            self.iterations = int(deconvolver.iteration_number)
            self._subtract(remaining, self.model - before)
            self.cycles += 1
            if self._diverges():
                self.stop_reason, self.diverged = "the residual's noise grew", True
                return
        limits = (self.iterations >= self.job.params.niter, "iteration limit"), (going_on, "major cycle limit")
        self.stop_reason = next((reason for reached, reason in limits if reached), "threshold")

    def _subtract(self, remaining: NDArray[np.complex64], components: NDArray[np.float32]) -> None:
        """Take new components from the visibilities that remain, and image what is left."""
        self._report("predicting the new components")
        brightest_jy = float(np.abs(components).max())
        # what is fainter than the first components need not be predicted to the same fraction of itself
        accuracy = min(ACCURACY * self._first_peak_jy / max(brightest_jy, 1e-30), FAINT_ACCURACY)
        terms = self.terms.for_brightness(brightest_jy / (TERMS_NSIGMA * self._least_noise_jy))
        remaining -= predict_through_beam(self.gridder, components, terms, accuracy=accuracy, progress=self._report)
        self._report("gridding the residual")
        self.residual[...] = self.gridder.image(remaining, accuracy=accuracy)

    def _diverges(self) -> bool:
        noise_jy = float(mad_std(self.residual))
        self._least_noise_jy = min(self._least_noise_jy, noise_jy)
        return not noise_jy <= DIVERGED * self._least_noise_jy

    def _report(self, message: str) -> None:
        fraction = 0.15 + 0.8 * min(self.cycles / CYCLES_EXPECTED, 1.0)
        self.job.progress(fraction, f"major cycle {self.cycles + 1}: {message}")


def _settings(job: ImagingJob, gain: float) -> radler.Settings:
    settings = radler.Settings()
    settings.trimmed_image_width = settings.trimmed_image_height = job.grid.imsize_pix
    settings.pixel_scale.x = settings.pixel_scale.y = job.grid.cell_rad
    settings.thread_count = threads.allowed()
    settings.minor_iteration_count = job.params.niter
    settings.major_iteration_count = MAJOR_CYCLES
    settings.minor_loop_gain, settings.major_loop_gain = MINOR_GAIN, gain
    settings.auto_mask_sigma, settings.auto_threshold_sigma = job.params.mask_nsigma, job.params.nsigma
    # to the very edge: what is not cleaned there is cleaned in its sidelobes elsewhere, which takes its flux away
    settings.border_ratio = 0.0
    return settings
