"""The sources of an image as marks on its picture."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from pipeline_app.models import Measurement, Product
from pipeline_app.preview_frame import PreviewFrame
from pipeline_app.sky_text import flux_density

SEEN_SNR = 5.0
CHARACTER_PX, LINE_PX = 9.0, 20.0
"""Room that a name takes on a picture."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A source on the picture of an image, in px of the picture."""

    x: str
    y: str
    title: str
    name: str
    """Empty where it would cover the name of a brighter one."""
    is_seen: bool
    """Whether it was measured well."""
    is_catalogued: bool
    """Whether a catalogue has its flux density."""


def frame_of(preview: Product | None) -> PreviewFrame | None:
    """Return where the sky lies in a preview; None for one that does not record it."""
    try:
        return PreviewFrame.model_validate(preview.metrics["frame"]) if preview else None
    except (KeyError, ValidationError):
        return None


def marks(frame: PreviewFrame, sources: list[Measurement]) -> list[Mark]:
    """Return the sources that lie in the image, the brightest first, with names that leave each other room."""
    found, named = [], list[tuple[float, float, float]]()
    for source in sources:
        place = frame.place(source.ra_deg, source.dec_deg)
        if place is None:
            continue
        x, y, width = *place, CHARACTER_PX * len(source.name)
        is_free = all(
            x + width < other or other + its_width < x or abs(y - its_y) > LINE_PX for other, its_y, its_width in named
        )
        named += [(x, y, width)] if is_free else []
        catalogued = f", catalogue {flux_density(source.catalog_flux_jy)}" if source.catalog_flux_jy else ""
        measured = flux_density(source.flux_jy, source.flux_err_jy)
        mark = Mark(
            x=f"{x:.1f}",
            y=f"{y:.1f}",
            title=f"{source.name}: {measured}, SNR {source.snr:.1f}{catalogued}",
            name=source.name if is_free else "",
            is_seen=source.snr >= SEEN_SNR,
            is_catalogued=bool(source.catalog_flux_jy),
        )
        found.append(mark)
    return found
