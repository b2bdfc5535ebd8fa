"""Sources missed and invented, on the image of the tiny target: what is left out of the truth, or put into it."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline_app.simulation import Source
from pipeline_app.simulation.detections import Detections, judge_detections
from tests.pipeline_app.reduced_tile import Reduced

pytestmark = pytest.mark.casa


def judge(reduced: Reduced, sources: list[Source]) -> Detections:
    imaged = reduced.imaged
    return judge_detections(imaged.flat_image_path, imaged.pb_path, sources, rms_jy=imaged.rms_jy)


def test_an_image_of_its_own_sources_misses_and_invents_none(reduced: Reduced) -> None:
    found = judge(reduced, list(reduced.target_truth.sources))
    assert found.n_expected == found.n_peaks == len(reduced.target_truth.sources)
    assert (found.missed, found.invented) == ((), ())


def test_a_source_that_is_not_there_is_missed_and_one_that_nobody_injected_is_invented(reduced: Reduced) -> None:
    first, *others = reduced.target_truth.sources
    moved = dataclasses.replace(
        first, name="moved", dec_deg=first.dec_deg + 3 * reduced.imaged.beam_major_arcsec / 3600
    )
    found = judge(reduced, [moved, *others])
    assert found.missed == ("moved",)
    assert len(found.invented) == 1 and f"{first.dec_deg:+.2f}" in found.invented[0]


def test_sources_too_faint_or_outside_the_beam_need_not_be_found(reduced: Reduced) -> None:
    sources = list(reduced.target_truth.sources)
    first = sources[0]
    faint = dataclasses.replace(first, name="faint", dec_deg=first.dec_deg + 0.2, flux_jy=3 * reduced.imaged.rms_jy)
    outside = dataclasses.replace(first, name="outside", dec_deg=first.dec_deg + 30.0)
    found = judge(reduced, [*sources, faint, outside])
    assert (found.n_expected, found.missed) == (len(sources), ())
