"""Clean components as a product, and the visibilities that they stand for: what self-calibration compares data with.

    model = "…/name.model.fits"               # ImagingResult.model_path, product kind "model-image"
    visibilities = predict(ms_path, model)    # complex64 (n_rows, n_channels), Jy, Stokes I, in the order of the rows

The file holds apparent brightness in Jy/pixel (averaged over the tile by the imaging weights, smearing included) and,
in its header, how the image was weighted (ROBUST) and which spectral index was assumed (ALPHA). `predict` undoes the
average: every row is predicted through the beam of its time and channel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from pipeline_app.casa import fits_images, measurement_set
from pipeline_app.casa.beam_terms import beam_terms, predict_through_beam
from pipeline_app.casa.fits_images import SkyImage
from pipeline_app.casa.gridding import Gridder
from pipeline_app.casa.pointing import beam_track
from pipeline_app.casa.sky_grid import Grid
from pipeline_app.casa.stokes import StokesI, read_stokes_i
from pipeline_app.casa.weighting import imaging_weights
from tasks_app.engine.handler import InvalidInput

MAX_CENTRE_ERROR_ARCSEC = 0.01


def write_model(
    path: Path, like: SkyImage, model: NDArray[np.float32], *, freq_hz: float, robust: float, spectral_index: float
) -> None:
    """Write clean components (n_y, n_x) in Jy/pixel."""
    cards = {"ROBUST": robust, "ALPHA": spectral_index}
    note = "clean components, apparent Stokes I"
    fits_images.write_image(path, like, model, freq_hz=freq_hz, note=note, unit="Jy/pixel", cards=cards)


def predict(ms_path: str | Path, model_path: str | Path) -> NDArray[np.complex64]:
    """Return the Stokes I visibilities of a model image for a Measurement Set with the same phase centre.

    Args:
        ms_path: the Measurement Set that was imaged, or another of the same field with the same rows' geometry.
        model_path: FITS of the imaging stage (`ImagingResult.model_path`).

    Returns:
        (n_rows, n_channels) in Jy, in the order of the main table's rows; zero for autocorrelations. Flagged samples
        are predicted too. For both parallel hands of an unpolarised sky.

    Raises:
        InvalidInput: a file cannot be read, or the phase centres differ.
    """
    info = measurement_set.read_info(ms_path)
    data = read_stokes_i(info)
    cross = np.concatenate([rows.cross for rows in measurement_set.iter_rows(info, ())])
    values = np.zeros((info.n_rows, len(info.freqs_hz)), dtype=np.complex64)
    values[cross] = predict_data(data, fits_images.read_image(model_path))
    return values


def predict_data(data: StokesI, model: SkyImage) -> NDArray[np.complex64]:
    """Return the visibilities of a model image for data that are in memory, (n_rows, n_channels) as `data.values`."""
    info = data.info
    off_deg = np.hypot(
        (model.wcs.wcs.crval[0] - info.phase_ra_deg + 180.0) % 360.0 - 180.0,
        model.wcs.wcs.crval[1] - info.phase_dec_deg,
    )
    if off_deg * 3600.0 > MAX_CENTRE_ERROR_ARCSEC:
        raise InvalidInput(
            f"the model's centre is {off_deg * 3600.0:.3f} arcsec from the phase centre of {info.path}; "
            "a model serves only data with its own phase centre"
        )
    grid = Grid(imsize_pix=model.data.shape[0], cell_arcsec=model.cell_arcsec)
    robust, alpha = float(model.header.get("ROBUST", 0.5)), float(model.header.get("ALPHA", -0.7))
    weights = imaging_weights(data, robust=robust, field_rad=grid.imsize_pix * grid.cell_rad)
    wcs: WCS = model.wcs
    terms = beam_terms(wcs, model.data.shape, info, beam_track(info), weights, spectral_index=alpha)
    return predict_through_beam(Gridder(data, weights, grid), model.data.astype(np.float32), terms)
